"""Whether a cluster would take the runs of a definition as they stand, without storing anything."""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from app.domain.names import new_id
from app.kube.client import NamespacedClient
from app.kube.errors import DeniedError, ForbiddenError, InvalidError, NotFoundError, QuotaError
from app.kube.field_paths import definition_pointer
from app.kube.manifests import build_job
from schemas.definition import Definition
from schemas.faults import Fault, pointer_to
from schemas.merge import merge
from schemas.request import Request


@dataclass(frozen=True, slots=True)
class Checked:
    """What the API server says of a definition.

    Attributes:
        faults: why its runs would be refused, or never start; pointers are the configuration's.
        warnings: what the API server warns of, and what it doesn't let us look up.
    """

    faults: tuple[Fault, ...]
    warnings: tuple[Fault, ...]


def check_definition(client: NamespacedClient, definition: Definition) -> Checked:
    """Ask about the run of a definition whose request is empty, and for what it needs to start.

    Secrets and ConfigMaps that it refers to aren't looked up: nobody should need the right to read them for a check.

    Raises:
        ClusterError: the API server can't be asked, or doesn't let us.
    """
    path = pointer_to("Configurations", definition.name)
    warnings: list[str] = []
    faults = list(_job_faults(client, definition, path, warnings))
    told = [Fault(path, text) for text in warnings]
    for pointer, missing, found in _needs(client, definition, path):
        try:
            if not found():
                faults.append(Fault(pointer, missing))
        except ForbiddenError as error:
            told.append(Fault(pointer, f"not looked up: {error}"))
    return Checked(tuple(faults), tuple(told))


def _job_faults(client: NamespacedClient, definition: Definition, path: str, warnings: list[str]) -> Iterator[Fault]:
    spec = merge(definition, Request())
    job = build_job(spec, new_id(), queued_at=datetime.now(UTC), call=secrets.token_hex(16))
    try:
        client.create_job(job, dry_run=True, warnings=warnings)
    except InvalidError as error:
        if "denied request" in error.message:  # a ValidatingAdmissionPolicy answers 422
            yield Fault(path, f"refused by an admission policy: {error}")
            return
        for field, message in error.causes or (("", error.message),):
            pointer = definition_pointer(field)
            yield Fault(path + pointer, message if pointer or not field else f"{field}: {message}")
    except QuotaError as error:
        yield Fault(path, f"refused by a quota: {error}")
    except DeniedError as error:
        yield Fault(path, f"refused by an admission policy: {error}")
    except NotFoundError as error:
        yield Fault(path, f"the namespace {client.name} takes no Jobs: {error}")


def _needs(
    client: NamespacedClient, definition: Definition, path: str
) -> Iterator[tuple[str, str, Callable[[], bool]]]:
    """What a run needs to start: its pointer, what to say where it is missing, and how to look it up."""
    account = definition.service_account_name
    if account is not None:
        missing = f"no such ServiceAccount in the namespace {client.name}: runs would never start"
        yield f"{path}/ServiceAccountName", missing, partial(_has_account, client, account)
    for index, name in enumerate(definition.depends_on):
        missing = f"no such Deployment or StatefulSet in the namespace {client.name}: runs would never start"
        yield f"{path}/DependsOn/{index}", missing, partial(_has_workload, client, name)


def _has_account(client: NamespacedClient, name: str) -> bool:
    try:
        client.get_service_account(name)
    except NotFoundError:
        return False
    return True


def _has_workload(client: NamespacedClient, name: str) -> bool:
    return bool(client.find_workloads(name))
