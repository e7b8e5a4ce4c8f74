"""The merge of a request into a definition, which gives the specification of one run.

The rule for every field: the value is applied exactly as given, or the request is refused with a fault that names the
field. Nothing is clamped, changed or dropped. `_merge_resources` documents the only derived value.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from schemas.definition import (
    DEFAULT_BACKOFF_LIMIT,
    KUBERNETES_BACKOFF_LIMIT,
    Amounts,
    Definition,
    RestartPolicy,
    Variable,
    Visibility,
)
from schemas.dependencies import MAX_REQUEST_NAMES, MAX_REQUEST_NAMES_BYTES, count_bytes, is_workload_name
from schemas.environment_rules import environment_faults
from schemas.faults import Fault, pointer_to, refuse_request
from schemas.images import is_allowed, is_image
from schemas.kueue import request_faults
from schemas.notify import DEFAULT_MAX_UNDELIVERED
from schemas.quantities import NotAQuantity, parse_amount, parse_limit, parse_quantity
from schemas.request import Request, overridden_fields
from schemas.security import SecurityContext
from schemas.stored_size import MAX_STORED_BYTES, stored_bytes
from schemas.template import Template

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class RunSpec:
    """The specification of one run.

    Attributes:
        definition: the name of the definition.
        image: an image that the definition allows.
        command: the definition's; `None`: the image's entrypoint.
        args: the request's, else the definition's; `None`: the image's own.
        literal_args: whether the request gave the args, so that Kubernetes must not expand `$(NAME)` in them.
        requests: resource requests, none above the definition's.
        limits: resource limits, none above the definition's.
        depends_on: Deployments or StatefulSets that must be ready before the run starts.
        environments: the definition's variables in its order, with the request's values where it gives any, then the
            request's other variables. The order matters: Kubernetes expands references to earlier variables.
        backoff_limit: retries before the run counts as failed; at most the definition's, or 6 if it sets none.
        timeout_seconds: at most the definition's; `None`: no limit.
        pending_timeout_seconds: at most the definition's; `None`: no limit.
        queue_timeout_seconds: at most the definition's; `None`: no limit.
        ttl_seconds_after_finished: how long Kubernetes keeps the finished run, at most as long as the definition says;
            `None`: until it is deleted.
        restart_policy: the pod's restart policy.
        visibility: the definition's; it tells who could start the run, and so how far its pod can be trusted.
        service_account_name: the definition's; `None`: the namespace's default account, without a token.
        security_context: the definition's.
        template: the definition's.
        notifies: whether somebody is told when the run ends, before Kubernetes may delete it.
        max_undelivered: how many ended runs of the definition may wait for that.
        queue: the definition's LocalQueue of Kueue; `None`: Kubernetes starts the run once it is admitted.
        priority: the WorkloadPriorityClass that Kueue ranks the run by; `None`: Kueue's default.
    """

    definition: str
    image: str
    command: tuple[str, ...] | None
    args: tuple[str, ...] | None
    literal_args: bool
    requests: Amounts
    limits: Amounts
    depends_on: tuple[str, ...]
    environments: tuple[Variable, ...]
    backoff_limit: int
    timeout_seconds: int | None
    pending_timeout_seconds: int | None
    queue_timeout_seconds: int | None
    ttl_seconds_after_finished: int | None
    restart_policy: RestartPolicy
    visibility: Visibility
    service_account_name: str | None
    security_context: SecurityContext
    template: Template | None = None
    notifies: bool = False
    max_undelivered: int = DEFAULT_MAX_UNDELIVERED
    queue: str | None = None
    priority: str | None = None


def merge(definition: Definition, request: Request, faults_before: Iterable[Fault] = ()) -> RunSpec:
    """Merge a request into a definition.

    Args:
        definition: the defaults and limits.
        request: the changes.
        faults_before: the faults from `schemas.request.read_request`, to be reported together with those found here.

    Raises:
        schemas.faults.Refused: there are faults, or the request asks for something that the definition does not allow.
            The exception has all faults, up to `MAX_FAULTS`.
    """
    requests, limits, faults = _merge_resources(definition, request)
    faults += faults_before
    faults += _image_faults(definition, request)
    faults += _dependency_faults(definition, request)
    faults += environment_faults(definition, request.environments)
    faults += _bound_faults(definition, request)
    faults += _restart_faults(definition, request)
    faults += request_faults(definition, request)
    faults += _overridable_faults(definition, request)
    faults += _size_faults(request)
    if faults:
        refuse_request(faults)
    given = {variable.name: variable for variable in request.environments}
    defined = {variable.name: variable for variable in definition.environments}
    return RunSpec(
        definition=definition.name,
        image=_given(request.image, definition.image),
        command=definition.command,
        args=_given(request.args, definition.args),
        literal_args=request.args is not None,
        requests=requests,
        limits=limits,
        depends_on=_given(request.depends_on, definition.depends_on),
        environments=tuple((defined | given).values()),
        backoff_limit=_given(request.backoff_limit, _given(definition.backoff_limit, DEFAULT_BACKOFF_LIMIT)),
        timeout_seconds=_given(request.timeout_seconds, definition.timeout_seconds),
        pending_timeout_seconds=_given(request.pending_timeout_seconds, definition.pending_timeout_seconds),
        queue_timeout_seconds=_given(request.queue_timeout_seconds, definition.queue_timeout_seconds),
        ttl_seconds_after_finished=_given(request.ttl_seconds_after_finished, definition.ttl_seconds_after_finished),
        restart_policy=_given(request.restart_policy, definition.restart_policy),
        visibility=definition.visibility,
        service_account_name=definition.service_account_name,
        security_context=definition.security_context,
        template=definition.template,
        notifies=definition.notify is not None,
        max_undelivered=definition.notify.max_undelivered if definition.notify else DEFAULT_MAX_UNDELIVERED,
        queue=definition.queue,
        priority=_given(request.priority, definition.priority),
    )


def _given(value: _T | None, default: _T) -> _T:
    return default if value is None else value


def _image_faults(definition: Definition, request: Request) -> Iterator[Fault]:
    if request.image is None or request.image == definition.image:
        return
    if not is_image(request.image):
        yield Fault("/Image", "not an image reference; write it like registry/repository:tag")
    elif not is_allowed(request.image, default=definition.image, whitelist=definition.images_whitelist):
        yield Fault("/Image", "not an image that this definition allows")


def _dependency_faults(definition: Definition, request: Request) -> Iterator[Fault]:
    """Find names that no workload can have, and more names than a queued run may keep in memory.

    A list that is the definition's own is kept once for all runs, so it may be as long as a definition's.
    """
    names = request.depends_on or ()
    if names == definition.depends_on:
        return
    maximum = max(MAX_REQUEST_NAMES, len(definition.depends_on))
    if len(names) > maximum:
        yield Fault("/DependsOn", f"more than {maximum} names")
        return
    maximum_bytes = max(MAX_REQUEST_NAMES_BYTES, count_bytes(definition.depends_on))
    if (size_bytes := count_bytes(names)) > maximum_bytes:
        yield Fault("/DependsOn", f"the names have {size_bytes} bytes together, more than {maximum_bytes}")
        return
    seen: set[str] = set()
    for index, name in enumerate(names):
        if not is_workload_name(name):
            yield Fault(
                pointer_to("DependsOn", index),
                "not the name of a Deployment or StatefulSet (a DNS subdomain)",
            )
        elif name in seen:
            yield Fault(pointer_to("DependsOn", index), "named twice")
        seen.add(name)


def _size_faults(request: Request) -> Iterator[Fault]:
    if (size_bytes := stored_bytes(request)) > MAX_STORED_BYTES:
        yield Fault(
            "",
            f"Args, Environments and DependsOn would take {size_bytes} bytes in the cluster, more than "
            f"{MAX_STORED_BYTES}: a $ is stored as two bytes, and <, >, & and control characters are written as six",
        )


def _bound_faults(definition: Definition, request: Request) -> Iterator[Fault]:
    """Find numbers above the definition's.

    Where it sets no time, every time is lower: without one a run has no limit, or is kept for ever.
    """
    bounds = {
        "BackoffLimit": (request.backoff_limit, _given(definition.backoff_limit, KUBERNETES_BACKOFF_LIMIT)),
        "PendingTimeoutSeconds": (request.pending_timeout_seconds, definition.pending_timeout_seconds),
        "QueueTimeoutSeconds": (request.queue_timeout_seconds, definition.queue_timeout_seconds),
        "TimeoutSeconds": (request.timeout_seconds, definition.timeout_seconds),
        "TtlSecondsAfterFinished": (request.ttl_seconds_after_finished, definition.ttl_seconds_after_finished),
    }
    for field, (given, maximum) in bounds.items():
        if given is not None and maximum is not None and given > maximum:
            yield Fault(pointer_to(field), f"above this definition's maximum of {maximum}")


def _restart_faults(definition: Definition, request: Request) -> Iterator[Fault]:
    template = definition.template
    if template is not None and template.forbids_restart and request.restart_policy not in (None, "Never"):
        yield Fault("/RestartPolicy", "this definition's podFailurePolicy needs Never")


def _overridable_faults(definition: Definition, request: Request) -> Iterator[Fault]:
    for field in overridden_fields(request):
        if not definition.lets_set(field):
            yield Fault(pointer_to(field), "not among the fields that Overridable of the definition lets requests set")


def _merge_resources(definition: Definition, request: Request) -> tuple[Amounts, Amounts, list[Fault]]:
    """Replace the definition's amounts by the request's, resource by resource.

    Kubernetes refuses a resource request above the limit of the same resource. So if a request lowers only the limit,
    the definition's resource request is lowered to it. A resource request that the caller gave above it is a fault.
    """
    faults: list[Fault] = []
    requests = _lower("Requests", definition.requests, request.requests, faults)
    limits = _lower("Limits", definition.limits, request.limits, faults)
    for resource in request.limits.keys() & requests.keys() & limits.keys() - request.requests.keys():
        if _exceeds(requests[resource], limits[resource]):
            requests[resource] = limits[resource]
    for resource in request.requests:
        if resource in requests and resource in limits and _exceeds(requests[resource], limits[resource]):
            pointer = pointer_to("Resources", "Requests", resource)
            faults.append(Fault(pointer, f"above the limit of {limits[resource]}"))
    return requests, limits, faults


def _exceeds(amount: str, bound: str) -> bool:
    return parse_quantity(amount) > parse_quantity(bound)


def _lower(part: str, defined: Amounts, given: Mapping[str, str], faults: list[Fault]) -> dict[str, str]:
    """Return the defined amounts, replaced by the given ones where allowed; add a fault for every other."""
    merged = dict(defined)
    for resource, text in given.items():
        pointer = pointer_to("Resources", part, resource)
        if resource not in defined:
            faults.append(Fault(pointer, f"not among the {part} of this definition"))
            continue
        try:
            amount = parse_limit(resource, text) if part == "Limits" else parse_amount(resource, text)
        except NotAQuantity as error:
            faults.append(Fault(pointer, str(error)))
            continue
        if amount > parse_quantity(defined[resource]):
            faults.append(Fault(pointer, f"above this definition's maximum of {defined[resource]}"))
        else:
            merged[resource] = text
    return merged
