"""What the caller of a dry run may see: the Job, without what the definition or the cluster keeps from callers."""

from app.common.types import Json
from app.domain.request_context import RequestContext
from schemas.definition import RESERVED_PREFIX
from schemas.merge import RunSpec
from schemas.request import Request
from schemas.run_container import DEFAULT_CONTAINER_ANNOTATION, run_container

_CONTAINER_FIELDS = frozenset(
    {
        "args",
        "command",
        "image",
        "imagePullPolicy",
        "name",
        "resources",
        "securityContext",
        "terminationMessagePath",
        "terminationMessagePolicy",
        "workingDir",
    }
)
_POD_FIELDS = frozenset(
    {
        "activeDeadlineSeconds",
        "automountServiceAccountToken",
        "dnsPolicy",
        "enableServiceLinks",
        "nodeSelector",
        "preemptionPolicy",
        "priority",
        "priorityClassName",
        "restartPolicy",
        "runtimeClassName",
        "schedulerName",
        "securityContext",
        "serviceAccount",
        "serviceAccountName",
        "terminationGracePeriodSeconds",
        "tolerations",
    }
)
"""What is shown of a container and of a pod. A template and admission webhooks may set any other field, and some of
them refer to Secrets."""

_ANNOTATIONS = ("slimfaas.dev/", "SlimFaas/", DEFAULT_CONTAINER_ANNOTATION)
"""How the names of annotations begin that the service sets. Others may tell tools where they find Secrets."""


def redact(job: Json, spec: RunSpec, request: Request, context: RequestContext | None = None) -> Json:
    """Return a Job without what its caller may not know.

    Guarantees:
        - a variable's value or source stays only if the request gave it or the service sets it; of all other variables
          only the name stays;
        - of containers other than the run's own, only name and image stay, and of init containers nothing;
        - of the template's and webhooks' other fields and annotations, only those stay that cannot refer to a Secret.

    Args:
        job: as the API server returned it; it is not changed.
        spec: what the Job was made of.
        request: the caller's.
        context: where the request comes from; `None`: unknown.
    """
    pod = job["spec"]["template"]["spec"]
    own_name = run_container(job["spec"]["template"], spec.definition).get("name")
    own = {variable.name for variable in request.environments}
    own |= {
        variable.name for variable in (context or RequestContext()).variables([one.name for one in spec.environments])
    }
    containers = [
        _redact_container(container, own)
        if container["name"] == own_name
        else {key: container[key] for key in ("name", "image") if key in container}
        for container in pod["containers"]
    ]
    shown = {key: value for key, value in pod.items() if key in _POD_FIELDS} | {"containers": containers}
    template = {"metadata": _redact_metadata(job["spec"]["template"].get("metadata") or {}), "spec": shown}
    return {**job, "metadata": _redact_metadata(job["metadata"]), "spec": {**job["spec"], "template": template}}


def _redact_metadata(metadata: Json) -> Json:
    shown = {key: value for key, value in metadata.items() if key not in ("managedFields", "annotations")}
    annotations = metadata.get("annotations") or {}
    kept = {key: value for key, value in annotations.items() if key.startswith(_ANNOTATIONS)}
    return {**shown, "annotations": kept} if kept else shown


def _redact_container(container: Json, own: set[str]) -> Json:
    shown = {key: value for key, value in container.items() if key in _CONTAINER_FIELDS}
    shown["env"] = [
        variable
        if variable["name"] in own or variable["name"].startswith(RESERVED_PREFIX)
        else {"name": variable["name"]}
        for variable in container.get("env") or ()
    ]
    return shown
