"""What callers do with definitions, runs and schedules, and the Kubernetes permission that each action needs."""

from dataclasses import dataclass
from enum import Enum

GROUP = "slimfaas.dev"
"""The API group of the permissions. No API server serves it: Roles may name any group."""

RUNS = "jobs"
"""The resource of the permissions on runs. The resource name is the definition's name."""

SCHEDULES = "schedules"
"""The resource of the permissions on schedules. The resource name is the definition's name, too."""


@dataclass(frozen=True, slots=True)
class Permission:
    """A permission on a resource of `slimfaas.dev`, as Roles grant it.

    Attributes:
        verb: the verb.
        subresource: the subresource; empty: the resource itself.
        resource: `RUNS` or `SCHEDULES`.
    """

    verb: str
    subresource: str = ""
    resource: str = RUNS

    def describe(self, definition: str) -> str:
        """Name the permission on a definition, in the words of `kubectl auth can-i`."""
        subresource = f" --subresource={self.subresource}" if self.subresource else ""
        return f"{self.verb} {self.resource}.{GROUP}/{definition}{subresource}"


class Action(Enum):
    """What a request does.

    `START` and `CREATE_SCHEDULE` include the dry run, and `READ` includes waiting. `SEE` shows a definition's name and
    slots. `DESCRIBE` also shows its queue and dependencies.
    """

    START = "start a run"
    READ = "read a run"
    READ_LOG = "read a log"
    CANCEL = "cancel a run"
    LIST = "list runs"
    EMPTY = "empty the queue"
    CREATE_SCHEDULE = "create a schedule"
    READ_SCHEDULE = "read a schedule"
    CHANGE_SCHEDULE = "pause or resume a schedule"
    DELETE_SCHEDULE = "delete a schedule"
    LIST_SCHEDULES = "list schedules"
    SEE = "see names and slots"
    DESCRIBE = "see more than names and slots"

    @property
    def permission(self) -> Permission:
        """The permission that the caller needs if RBAC decides."""
        return _PERMISSIONS[self]

    @property
    def name_for_callers(self) -> str:
        """The name of the action in responses, such as `ReadLog`."""
        return self.name.title().replace("_", "")

    @property
    def open_on_public(self) -> bool:
        """Whether anyone may do it with a public definition. For a single run or schedule, its id is the key."""
        return self in _OPEN_ON_PUBLIC

    @property
    def falls_back(self) -> bool:
        """Whether a name without a definition may mean the fallback. A mistyped name must not empty its queue."""
        return self in _OPEN_ON_PUBLIC

    @property
    def on_own(self) -> "Action | None":
        """What a caller must be allowed to do, so that it may do this with what it has made itself; `None`: nothing."""
        return _ON_OWN.get(self)


_PERMISSIONS = {
    Action.START: Permission("create"),
    Action.READ: Permission("get"),
    Action.READ_LOG: Permission("get", "log"),
    Action.CANCEL: Permission("delete"),
    Action.LIST: Permission("list"),
    Action.EMPTY: Permission("delete"),
    Action.CREATE_SCHEDULE: Permission("create", resource=SCHEDULES),
    Action.READ_SCHEDULE: Permission("get", resource=SCHEDULES),
    Action.CHANGE_SCHEDULE: Permission("patch", resource=SCHEDULES),
    Action.DELETE_SCHEDULE: Permission("delete", resource=SCHEDULES),
    Action.LIST_SCHEDULES: Permission("list", resource=SCHEDULES),
    Action.SEE: Permission("create"),
    Action.DESCRIBE: Permission("list"),
}
_ON_OWN = {
    **dict.fromkeys((Action.READ, Action.READ_LOG, Action.CANCEL, Action.LIST), Action.START),
    **dict.fromkeys(
        (Action.READ_SCHEDULE, Action.CHANGE_SCHEDULE, Action.DELETE_SCHEDULE, Action.LIST_SCHEDULES),
        Action.CREATE_SCHEDULE,
    ),
}
_OPEN_ON_PUBLIC = frozenset({Action.START, Action.CREATE_SCHEDULE, *_ON_OWN} - {Action.LIST, Action.LIST_SCHEDULES})
