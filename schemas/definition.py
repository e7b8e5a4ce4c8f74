"""Job definitions: the entries of a valid configuration."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from schemas.faults import pointer_to
from schemas.notify import Notify, build_notify
from schemas.security import SecurityContext, build_security_context
from schemas.template import Template

if TYPE_CHECKING:
    from schemas.schedules import Schedule

Amounts = Mapping[str, str]
"""Quantities by resource name, as written."""

RestartPolicy = Literal["Never", "OnFailure"]
Visibility = Literal["Public", "Private"]
Source = Literal["Configuration", "CronJob"]

_SECRET_SOURCES = ("secretKeyRef", "fileKeyRef")

FALLBACK = "default"
"""The name of the definition that unknown names fall back to, if the configuration has it."""

_NAME = re.compile(r"(?!.*-slimfaas-job-)[a-z0-9]([-a-z0-9]{0,28}[a-z0-9])?", re.ASCII)

RESERVED_PREFIX = "SLIMFAAS_JOB_"
"""Only the service sets environment variables with this prefix."""

REFERENCES = frozenset({"SecretRef", "ConfigMapRef", "FieldRef", "ResourceFieldRef"})
"""The keys of an environment variable that name where Kubernetes takes its value from."""

DEFAULT_BACKOFF_LIMIT = 1
"""The retries of a run if neither its definition nor its request sets a number."""

KUBERNETES_BACKOFF_LIMIT = 6
"""Kubernetes' default for the retries of a Job. A request may set as many if its definition sets no number:
https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-backoff-failure-policy"""


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

    @property
    def is_secret(self) -> bool:
        """Whether the value comes from a Secret, or from a file that another container has written."""
        return self.source is not None and not self.source.keys().isdisjoint(_SECRET_SOURCES)


@dataclass(frozen=True, slots=True)
class Definition:
    """What the runs of one name consist of, and what a request may change.

    Attributes:
        name: a DNS label of at most 30 characters, in lower case.
        image: the image of runs whose request names none.
        images_whitelist: patterns of the other images that a request may name (`schemas.images`).
        requests: the pod's resource requests; each is also the maximum for requests.
        limits: the same for resource limits.
        depends_on: Deployments or StatefulSets of the namespace that must be ready before a run starts.
        environments: environment variables with unique names.
        environments_whitelist: patterns of the variables that a request may set; `None`: the rules of
            `schemas.environment_rules` decide.
        overridable: the fields that a request may set; `None`: all of them.
        backoff_limit: retries before a run counts as failed; `None`: `DEFAULT_BACKOFF_LIMIT`, and a request may set up
            to `KUBERNETES_BACKOFF_LIMIT`.
        visibility: `Private`: only trusted callers may use the definition.
        number_parallel_job: the number of slots: how many runs may be active at the same time.
        max_queued: how many runs may be queued; `None`: no limit.
        queue_timeout_seconds: how long a run may be queued; `None`: no limit.
        timeout_seconds: how long a run may take from its start, retries included; `None`: no limit.
        pending_timeout_seconds: how long an attempt may wait for its container to start; `None`: no limit.
        ttl_seconds_after_finished: how long Kubernetes keeps a finished run; `None`: until it is deleted.
        notify: who is told when a run ends; `None`: nobody.
        restart_policy: the pod's restart policy.
        command: replaces the image's entrypoint; `None`: the image's own.
        args: the arguments of runs whose request gives none; `None`: the image's own.
        service_account_name: the account whose token the pod gets; `None`: the default account, without a token.
        security_context: the security settings of the pod; a template has its own.
        queue: the LocalQueue of Kueue that runs are handed to when they are admitted; `None`: Kubernetes starts them.
        priority: the WorkloadPriorityClass of runs whose request names none; `None`: Kueue's default.
        priorities_whitelist: the other ones that a request may name.
        template: the Job that runs are made from; `None`: one of a single container that the other fields describe. The
            other fields are those of the definition as a whole, wherever they are said.
        schedules: when runs are started without a call; each is checked against the other fields.
        source: where the definition comes from (`schemas.cronjobs`).
        written_name: the name as the configuration writes it, in upper or lower case; empty: as `name`.
    """

    name: str
    image: str
    images_whitelist: tuple[str, ...] = ()
    requests: Amounts = field(default_factory=dict)
    limits: Amounts = field(default_factory=dict)
    depends_on: tuple[str, ...] = ()
    environments: tuple[Variable, ...] = ()
    environments_whitelist: tuple[str, ...] | None = None
    overridable: frozenset[str] | None = None
    backoff_limit: int | None = None
    visibility: Visibility = "Private"
    number_parallel_job: int = 1
    max_queued: int | None = None
    queue_timeout_seconds: int | None = None
    timeout_seconds: int | None = None
    pending_timeout_seconds: int | None = None
    ttl_seconds_after_finished: int | None = None
    notify: Notify | None = None
    restart_policy: RestartPolicy = "Never"
    command: tuple[str, ...] | None = None
    args: tuple[str, ...] | None = None
    service_account_name: str | None = None
    security_context: SecurityContext = field(default_factory=SecurityContext)
    queue: str | None = None
    priority: str | None = None
    priorities_whitelist: tuple[str, ...] = ()
    template: Template | None = None
    schedules: tuple["Schedule", ...] = ()
    source: Source = "Configuration"
    written_name: str = field(default="", compare=False)

    @property
    def holds_secret(self) -> bool:
        """Whether a run's program can read a Secret or a token: by a variable, its ServiceAccount or its template."""
        return (
            self.service_account_name is not None
            or any(variable.is_secret for variable in self.environments)
            or (self.template is not None and bool(self.template.secrets))
        )

    def pointer(self, *steps: str | int) -> str:
        """Return the JSON pointer to a part of the definition in its configuration."""
        return pointer_to("Configurations", self.written_name or self.name, *steps)

    def lets_set(self, field_name: str) -> bool:
        """Return whether `Overridable` lets a request set this field."""
        return self.overridable is None or field_name in self.overridable

    def can_set(self, field_name: str) -> bool:
        """Return whether a request can change a run by this field."""
        if field_name == "Priority" and not self.priorities_whitelist:
            return False
        if field_name == "QueueTimeoutSeconds" and self.queue is not None:
            return False
        return self.lets_set(field_name)


def lower_name(name: str) -> str:
    """Return the name of a definition in lower case. Only ASCII letters change: other ones are in no valid name."""
    return name.lower() if name.isascii() else name


def is_definition_name(name: str) -> bool:
    """Return whether a definition may have this name, in upper or lower case."""
    return _NAME.fullmatch(lower_name(name)) is not None


def build_definition(
    name: str, entry: Mapping[str, Any], template: Template | None = None, variables: tuple[Variable, ...] = ()
) -> Definition:
    """Build a definition from an entry that the JSON Schema has accepted; absent fields take their defaults.

    SlimFaas writes `null` for absent `Resources`, `DependsOn` and `Environments`.

    Args:
        name: of the definition.
        entry: its fields. Those that a template says have been taken over.
        template: the Job that runs are made from.
        variables: of the template, before those of the entry.
    """
    resources = entry.get("Resources") or {}
    given: dict[str, Any] = {
        "images_whitelist": tuple(entry.get("ImagesWhitelist", ())),
        "requests": dict(resources.get("Requests", {})),
        "limits": dict(resources.get("Limits", {})),
        "depends_on": tuple(entry.get("DependsOn") or ()),
        "environments": variables + tuple(build_variable(item) for item in entry.get("Environments") or ()),
        "command": tuple(entry["Command"]) if "Command" in entry else None,
        "args": tuple(entry["Args"]) if "Args" in entry else None,
        "security_context": build_security_context(entry.get("SecurityContext", {})),
    }
    for key, attribute in _PLAIN_FIELDS.items():
        if key in entry:
            given[attribute] = entry[key]
    if "Notify" in entry:
        given["notify"] = build_notify(entry["Notify"])
    if "EnvironmentsWhitelist" in entry:
        given["environments_whitelist"] = tuple(entry["EnvironmentsWhitelist"])
    if "PrioritiesWhitelist" in entry:
        given["priorities_whitelist"] = tuple(entry["PrioritiesWhitelist"])
    if "Overridable" in entry:
        given["overridable"] = frozenset(entry["Overridable"])
    return Definition(name=lower_name(name), written_name=name, image=entry["Image"], template=template, **given)


_PLAIN_FIELDS = {
    "BackoffLimit": "backoff_limit",
    "Visibility": "visibility",
    "NumberParallelJob": "number_parallel_job",
    "MaxQueued": "max_queued",
    "QueueTimeoutSeconds": "queue_timeout_seconds",
    "TimeoutSeconds": "timeout_seconds",
    "PendingTimeoutSeconds": "pending_timeout_seconds",
    "TtlSecondsAfterFinished": "ttl_seconds_after_finished",
    "RestartPolicy": "restart_policy",
    "ServiceAccountName": "service_account_name",
    "Queue": "queue",
    "Priority": "priority",
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
    return Variable(name, value=entry.get("Value", entry.get("value", "")))
