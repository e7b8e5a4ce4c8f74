"""Checking a definition against a cluster, without storing anything: would the API server take its runs?"""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from app.common.types import Json
from app.domain.names import new_id
from app.kube.client import NamespacedClient
from app.kube.errors import DeniedError, ForbiddenError, InvalidError, NotFoundError, NotServedError, QuotaError
from app.kube.field_paths import definition_pointer
from app.kube.manifests import build_job
from schemas.definition import Definition
from schemas.faults import Fault
from schemas.merge import merge
from schemas.request import Request

_ACCOUNT = "ServiceAccount"
_WORKLOAD = "Deployment or StatefulSet"
_LOCAL_QUEUE = "LocalQueue of Kueue"
_PRIORITY = "WorkloadPriorityClass of Kueue"


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of checking one definition.

    Attributes:
        faults: why its runs would be refused or never start; the pointers are those of the configuration.
        warnings: what the API server warns of, and what we have no right to look up.
    """

    faults: tuple[Fault, ...]
    warnings: tuple[Fault, ...]


def check_definition(client: NamespacedClient, definition: Definition) -> Checked:
    """Send a dry run of an empty request, and look up what the run needs to start.

    Secrets and ConfigMaps that the definition refers to are not looked up: a check should not need the right to read
    them.

    Raises:
        ClusterError: the call to the API server failed, or was refused.
    """
    path = definition.pointer()
    job_warnings: list[str] = []
    faults = list(_find_job_faults(client, definition, path, job_warnings))
    warnings = [Fault(path, text) for text in job_warnings]
    for pointer, kind, name in _list_references(definition, path):
        try:
            if not _exists(client, kind, name):
                faults.append(Fault(pointer, f"{_describe_missing(client, kind)}: runs would never start"))
        except ForbiddenError as error:
            warnings.append(Fault(pointer, f"not looked up: {error}"))
    return Checked(tuple(faults), tuple(warnings))


def _find_job_faults(
    client: NamespacedClient, definition: Definition, path: str, warnings: list[str]
) -> Iterator[Fault]:
    """Yield why the API server would refuse a run; what it warns of is added to `warnings`."""
    try:
        try_job(client, definition, warnings)
    except InvalidError as error:
        if "denied request" in error.message:  # a ValidatingAdmissionPolicy answers 422
            yield Fault(path, f"refused by an admission policy: {error}")
            return
        yield from find_causes(error, definition, path)
    except QuotaError as error:
        yield Fault(path, f"refused by a quota: {error}")
    except DeniedError as error:
        yield Fault(path, f"refused by an admission policy: {error}")
    except NotFoundError as error:
        yield Fault(path, f"the namespace {client.name} takes no Jobs: {error}")


def try_job(client: NamespacedClient, definition: Definition, warnings: list[str] | None = None) -> None:
    """Have the API server check the Job of an empty request; what it warns of is added to `warnings`.

    Raises:
        InvalidError: it does not accept the Job.
        ClusterError: the call failed, or was refused for another reason.
    """
    spec = merge(definition, Request())
    job = build_job(spec, new_id(), queued_at=datetime.now(UTC), call=secrets.token_hex(16))
    client.create_job(job, dry_run=True, warnings=warnings)


def find_causes(error: InvalidError, definition: Definition, path: str) -> Iterator[Fault]:
    """Yield why the API server does not accept the Job of a definition, by the definition's own fields.

    Args:
        error: the API server's.
        definition: of the Job.
        path: of the definition, before the pointers.
    """
    for field, message in error.causes or (("", error.message),):
        pointer = definition_pointer(field, definition.template)
        yield Fault(path + pointer, message if pointer or not field else f"{field}: {message}")


def _list_references(definition: Definition, path: str) -> Iterator[tuple[str, str, str]]:
    """Yield the objects that a run needs to start: the definition's pointer, the kind and the name."""
    if definition.service_account_name is not None:
        yield f"{path}/ServiceAccountName", _ACCOUNT, definition.service_account_name
    if definition.queue is not None:
        yield f"{path}/Queue", _LOCAL_QUEUE, definition.queue
    if definition.priority is not None:
        yield f"{path}/Priority", _PRIORITY, definition.priority
    for index, name in enumerate(definition.priorities_whitelist):
        yield f"{path}/PrioritiesWhitelist/{index}", _PRIORITY, name
    for index, name in enumerate(definition.depends_on):
        yield f"{path}/DependsOn/{index}", _WORKLOAD, name


def _describe_missing(client: NamespacedClient, kind: str) -> str:
    return f"no such {kind}" if kind == _PRIORITY else f"no such {kind} in the namespace {client.name}"


def _exists(client: NamespacedClient, kind: str, name: str) -> bool:
    if kind == _WORKLOAD:
        return bool(client.find_workloads(name))
    if kind == _ACCOUNT:
        return _can_read(client.get_service_account, name)
    try:
        return _can_read(client.get_local_queue if kind == _LOCAL_QUEUE else client.get_workload_priority_class, name)
    except NotServedError:
        return False


def _can_read(read: Callable[[str], Json], name: str) -> bool:
    try:
        read(name)
    except NotFoundError:
        return False
    return True
