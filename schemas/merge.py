"""What one run is made of: a request over a definition, field by field.

The rule of every field: a value is applied as it was given, or the request is refused naming it. Nothing is clamped,
changed or dropped. The one value that follows another is documented at `_merge_resources`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from schemas.definition import Amounts, Definition, RestartPolicy, Variable, Visibility
from schemas.faults import Fault, pointer_to, refuse_request
from schemas.images import is_allowed, is_image
from schemas.quantities import NotAQuantity, parse_quantity
from schemas.request import WORKLOAD_NAME, WORKLOAD_NAME_LENGTH, Request
from schemas.security import SecurityContext

_T = TypeVar("_T")

_MOST_DEPENDENCIES = 32
"""So many names a request's `DependsOn` may hold: whoever dispatches keeps those of every queued run in memory."""


@dataclass(frozen=True, slots=True)
class RunSpec:
    """What one run is made of.

    Attributes:
        definition: the name of the definition.
        image: allowed by the definition.
        command: the definition's; `None`: the image's entrypoint.
        args: the request's, else the definition's; `None`: the image's own.
        literal_args: whether the args came with the request, so that Kubernetes must not expand `$(NAME)` in them.
        requests: resource requests, none above the definition's.
        limits: resource limits, none above the definition's.
        depends_on: Deployments or StatefulSets that must be ready before the run starts.
        environments: the definition's variables, each at its place, with the request's value where it gives one, then
            those that only the request has. The order matters: Kubernetes expands references to earlier ones.
        backoff_limit: retries before the run counts as failed.
        timeout_seconds: no more than the definition's; `None`: it may take as long as it likes.
        pending_timeout_seconds: no more than the definition's; `None`: its container may take as long to start.
        ttl_seconds_after_finished: `None`: kept until deleted.
        restart_policy: of the run's pod.
        visibility: the definition's: who could start the run, and so how far its pod can be trusted.
        service_account_name: the definition's; `None`: the namespace's default account, without its token.
        security_context: the definition's.
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
    ttl_seconds_after_finished: int | None
    restart_policy: RestartPolicy
    visibility: Visibility
    service_account_name: str | None
    security_context: SecurityContext


def merge(definition: Definition, request: Request, faults_before: Iterable[Fault] = ()) -> RunSpec:
    """Apply a request to a definition.

    Args:
        definition: the bounds.
        request: what to change.
        faults_before: what `schemas.request.read_request` has found, to be refused together with what is found here.

    Raises:
        schemas.faults.Refused: the request asks for what the definition doesn't allow; it carries every fault, but for
            the rest of very many.
    """
    requests, limits, faults = _merge_resources(definition, request)
    faults += faults_before
    faults += _image_faults(definition, request)
    faults += _dependency_faults(definition, request)
    faults += _environment_faults(request)
    faults += _timeout_faults(definition, request)
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
        backoff_limit=_given(request.backoff_limit, definition.backoff_limit),
        timeout_seconds=_given(request.timeout_seconds, definition.timeout_seconds),
        pending_timeout_seconds=_given(request.pending_timeout_seconds, definition.pending_timeout_seconds),
        ttl_seconds_after_finished=_given(request.ttl_seconds_after_finished, definition.ttl_seconds_after_finished),
        restart_policy=_given(request.restart_policy, definition.restart_policy),
        visibility=definition.visibility,
        service_account_name=definition.service_account_name,
        security_context=definition.security_context,
    )


def _given(value: _T | None, default: _T) -> _T:
    return default if value is None else value


def _image_faults(definition: Definition, request: Request) -> Iterator[Fault]:
    if request.image is None or request.image == definition.image:
        return
    if not is_image(request.image):
        yield Fault("/Image", "not an image reference; write it like registry/repository:tag")
    elif not is_allowed(request.image, default=definition.image, whitelist=definition.images_whitelist):
        yield Fault("/Image", "not an image that this job allows")


def _dependency_faults(definition: Definition, request: Request) -> Iterator[Fault]:
    most = max(_MOST_DEPENDENCIES, len(definition.depends_on))
    if len(request.depends_on or ()) > most:
        yield Fault("/DependsOn", f"more than {most} names")
        return
    seen: set[str] = set()
    for index, name in enumerate(request.depends_on or ()):
        if len(name) > WORKLOAD_NAME_LENGTH or not re.fullmatch(WORKLOAD_NAME, name):
            yield Fault(
                pointer_to("DependsOn", index),
                "not the name of a Deployment or StatefulSet (a DNS subdomain)",
            )
        elif name in seen:
            yield Fault(pointer_to("DependsOn", index), "named twice")
        seen.add(name)


def _environment_faults(request: Request) -> Iterator[Fault]:
    seen: set[str] = set()
    for index, variable in enumerate(request.environments):
        if variable.name in seen:
            yield Fault(pointer_to("Environments", index), "named twice")
        seen.add(variable.name)


def _timeout_faults(definition: Definition, request: Request) -> Iterator[Fault]:
    """A time may be shortened; where the definition bounds none, each is shorter than what it allows."""
    times = {
        "TimeoutSeconds": (request.timeout_seconds, definition.timeout_seconds),
        "PendingTimeoutSeconds": (request.pending_timeout_seconds, definition.pending_timeout_seconds),
    }
    for field, (given, most) in times.items():
        if given is not None and most is not None and given > most:
            yield Fault(pointer_to(field), f"above this job's {most}")


def _merge_resources(definition: Definition, request: Request) -> tuple[Amounts, Amounts, list[Fault]]:
    """Lay the request's amounts over the definition's, key by key.

    A request and a limit of one resource belong together: Kubernetes refuses a request above its limit. So when only
    the limit is lowered, an inherited request above it follows it down; one that was given is the caller's mistake.
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
    """The defined amounts with the given ones over them; what isn't allowed becomes a fault and changes nothing."""
    merged = dict(defined)
    for resource, text in given.items():
        pointer = pointer_to("Resources", part, resource)
        if resource not in defined:
            faults.append(Fault(pointer, f"not among the {part} of this job"))
            continue
        try:
            amount = parse_quantity(text)
        except NotAQuantity as error:
            faults.append(Fault(pointer, str(error)))
            continue
        if amount > parse_quantity(defined[resource]):
            faults.append(Fault(pointer, f"above this job's {defined[resource]}"))
        else:
            merged[resource] = text
    return merged
