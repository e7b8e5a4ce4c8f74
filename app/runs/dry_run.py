"""What the caller of a dry run may see: the Job, without what the definition or the cluster keeps from callers."""

from app.common.types import Json
from app.domain.request_context import RequestContext
from schemas.definition import RESERVED_PREFIX
from schemas.merge import RunSpec
from schemas.request import Request

_INNER_FIELDS = ("envFrom", "volumeMounts", "volumeDevices")
_POD_FIELDS = ("imagePullSecrets", "volumes", "initContainers", "ephemeralContainers")
"""Fields that the service never sets: an admission webhook has set them, and they may refer to Secrets."""


def redact(job: Json, spec: RunSpec, request: Request, context: RequestContext | None = None) -> Json:
    """Return a Job without what its caller may not know.

    Guarantees:
        - a variable's value or source stays only if the request gave it or the service sets it; of all other variables
          only the name stays;
        - of containers other than the definition's own, only name and image stay;
        - nothing in the pod refers to a Secret.

    Args:
        job: as the API server returned it; it is not changed.
        spec: what the Job was made of.
        request: the caller's.
        context: where the request comes from; `None`: unknown.
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
