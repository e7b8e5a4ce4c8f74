"""Job definitions: the entries of a valid configuration."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from schemas.security import SecurityContext, build_security_context

Amounts = Mapping[str, str]
"""Quantities by resource name, as written."""

RestartPolicy = Literal["Never", "OnFailure"]
Visibility = Literal["Public", "Private"]

RESERVED_PREFIX = "SLIMFAAS_"
"""Only the service sets environment variables with this prefix."""


@dataclass(frozen=True, slots=True)
class Variable:
    """An environment variable of a definition or a request.

    Attributes:
        name: the variable's name.
        value: the value; `None`: `source` gives it.
        literal: whether `$(NAME)` in the value is kept as it is. Kubernetes expands it in a definition's value, but not
            in a request's, which could otherwise reveal a Secret of the container.
        source: a Kubernetes EnvVarSource (`secretKeyRef`, `configMapKeyRef`, `fieldRef` or `resourceFieldRef`).
    """

    name: str
    value: str | None = None
    literal: bool = False
    source: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Definition:
    """What the runs of one name consist of, and what a request may change.

    Attributes:
        name: a DNS label of at most 30 characters.
        image: the image of runs whose request names none.
        images_whitelist: patterns of the other images that a request may name (`schemas.images`).
        requests: the pod's resource requests; each is also the maximum for requests.
        limits: the same for resource limits.
        depends_on: Deployments or StatefulSets of the namespace that must be ready before a run starts.
        environments: environment variables with unique names.
        backoff_limit: retries before a run counts as failed.
        visibility: `Private`: only trusted callers may use the definition.
        number_parallel_job: the number of slots: how many runs may be active at the same time.
        max_queued: how many runs may be queued; `None`: no limit.
        timeout_seconds: how long a run may take from its start, retries included; `None`: no limit.
        pending_timeout_seconds: how long an attempt may wait for its container to start; `None`: no limit.
        ttl_seconds_after_finished: how long Kubernetes keeps a finished run; `None`: until it is deleted.
        restart_policy: the pod's restart policy.
        command: replaces the image's entrypoint; `None`: the image's own.
        args: the arguments of runs whose request gives none; `None`: the image's own.
        service_account_name: the account whose token the pod gets; `None`: the default account, without a token.
        security_context: the security settings of the pod.
    """

    name: str
    image: str
    images_whitelist: tuple[str, ...] = ()
    requests: Amounts = field(default_factory=dict)
    limits: Amounts = field(default_factory=dict)
    depends_on: tuple[str, ...] = ()
    environments: tuple[Variable, ...] = ()
    backoff_limit: int = 1
    visibility: Visibility = "Private"
    number_parallel_job: int = 1
    max_queued: int | None = None
    timeout_seconds: int | None = None
    pending_timeout_seconds: int | None = None
    ttl_seconds_after_finished: int | None = None
    restart_policy: RestartPolicy = "Never"
    command: tuple[str, ...] | None = None
    args: tuple[str, ...] | None = None
    service_account_name: str | None = None
    security_context: SecurityContext = field(default_factory=SecurityContext)


def build_definition(name: str, entry: Mapping[str, Any]) -> Definition:
    """Build a definition from an entry that the JSON Schema has accepted; absent fields take their defaults."""
    resources = entry.get("Resources", {})
    given: dict[str, Any] = {
        "images_whitelist": tuple(entry.get("ImagesWhitelist", ())),
        "requests": dict(resources.get("Requests", {})),
        "limits": dict(resources.get("Limits", {})),
        "depends_on": tuple(entry.get("DependsOn", ())),
        "environments": tuple(build_variable(item) for item in entry.get("Environments", ())),
        "command": tuple(entry["Command"]) if "Command" in entry else None,
        "args": tuple(entry["Args"]) if "Args" in entry else None,
        "security_context": build_security_context(entry.get("SecurityContext", {})),
    }
    for key, attribute in _PLAIN_FIELDS.items():
        if key in entry:
            given[attribute] = entry[key]
    return Definition(name=name, image=entry["Image"], **given)


_PLAIN_FIELDS = {
    "BackoffLimit": "backoff_limit",
    "Visibility": "visibility",
    "NumberParallelJob": "number_parallel_job",
    "MaxQueued": "max_queued",
    "TimeoutSeconds": "timeout_seconds",
    "PendingTimeoutSeconds": "pending_timeout_seconds",
    "TtlSecondsAfterFinished": "ttl_seconds_after_finished",
    "RestartPolicy": "restart_policy",
    "ServiceAccountName": "service_account_name",
}


def variable_name(entry: Mapping[str, Any]) -> str:
    """Return the name in an entry of `Environments`, whose key is `Name` or `name`."""
    name: str = entry["Name"] if "Name" in entry else entry["name"]
    return name


def build_variable(entry: Mapping[str, Any]) -> Variable:
    """Build an environment variable from an entry that the JSON Schema has accepted."""
    name = variable_name(entry)
    if "SecretRef" in entry or "ConfigMapRef" in entry:
        kind, reference = (
            ("secretKeyRef", entry["SecretRef"]) if "SecretRef" in entry else ("configMapKeyRef", entry["ConfigMapRef"])
        )
        return Variable(name, source={kind: {"name": reference["Name"], "key": reference["Key"]}})
    if "FieldRef" in entry:
        return Variable(name, source={"fieldRef": {"fieldPath": entry["FieldRef"]["FieldPath"]}})
    if "ResourceFieldRef" in entry:
        reference = entry["ResourceFieldRef"]
        source = {"resource": reference["Resource"]}
        if "Divisor" in reference:
            source["divisor"] = reference["Divisor"]
        return Variable(name, source={"resourceFieldRef": source})
    return Variable(name, value=entry["Value"] if "Value" in entry else entry["value"])
