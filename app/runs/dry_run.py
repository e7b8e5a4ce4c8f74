"""What the caller of a dry run gets to see: the Job, without what others have put into it in confidence."""

from app.common.types import Json
from app.domain.request_context import RequestContext
from schemas.definition import RESERVED_PREFIX
from schemas.merge import RunSpec
from schemas.request import Request

_INNER_FIELDS = ("envFrom", "volumeMounts", "volumeDevices")
_POD_FIELDS = ("imagePullSecrets", "volumes", "initContainers", "ephemeralContainers")
"""What the service never sets: an admission webhook has, and it may name Secrets."""


def redact(job: Json, spec: RunSpec, request: Request, context: RequestContext | None = None) -> Json:
    """Take out of a Job what its caller may not know.

    Guarantees:
        - a variable's value, or where it comes from, is left in only where the request gave it or the service sets it;
          of all others the name remains;
        - of containers that were put beside the definition's own, name and image remain;
        - nothing remains in the pod that refers to a Secret.

    Args:
        job: as the API server answered; left as it is.
        spec: what it was made of.
        request: of the caller.
        context: of the call; `None`: nobody knows.
    """
    pod = job["spec"]["template"]["spec"]
    own = {variable.name for variable in request.environments}
    own |= {
        variable.name for variable in (context or RequestContext()).variables([one.name for one in spec.environments])
    }
    containers = [
        _redact_container(container, own)
        if container["name"] == spec.definition
        else {key: container[key] for key in ("name", "image") if key in container}
        for container in pod["containers"]
    ]
    shown = {key: value for key, value in pod.items() if key not in _POD_FIELDS} | {"containers": containers}
    template = {**job["spec"]["template"], "spec": shown}
    metadata = {key: value for key, value in job["metadata"].items() if key != "managedFields"}
    return {**job, "metadata": metadata, "spec": {**job["spec"], "template": template}}


def _redact_container(container: Json, own: set[str]) -> Json:
    shown = {key: value for key, value in container.items() if key not in _INNER_FIELDS}
    shown["env"] = [
        variable
        if variable["name"] in own or variable["name"].startswith(RESERVED_PREFIX)
        else {"name": variable["name"]}
        for variable in container.get("env") or ()
    ]
    return shown
