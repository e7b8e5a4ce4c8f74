"""Following the CronJobs that are definitions: each change comes into force alone, or is refused alone.

Why a refused one keeps its last valid version, and what bounds the memory: docs/adr/0019-definitions-from-cronjobs.md.
"""

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Literal

from app.common.types import Json
from app.definitions.change_texts import describe_changes, describe_faults
from app.definitions.registry import Registry
from app.kube.client import NamespacedClient
from app.kube.errors import ClusterError
from app.kube.shared_watch import Follower, SharedWatch
from schemas.cronjobs import claims_definition, definition_content, parse_cronjob
from schemas.definition import Definition
from schemas.faults import Fault, Refused

log = logging.getLogger(__name__)

MAX_TOTAL_BYTES = 4 * 2**20
"""What all definitions from CronJobs may take in memory, as `schemas.cronjobs.measure` counts it."""

_RECORD_BYTES = 2048
"""What a CronJob takes besides its definition: its record and the text about its faults."""

_MAX_TEXT = 1024
"""How many characters are kept of what is wrong with a CronJob: an Event has as many."""

_NO_ROOM = Fault(
    "",
    f"the definitions from CronJobs would have more than {MAX_TOTAL_BYTES // 2**20} MiB together; remove some, or move "
    "some to the configuration",
)

_OVERRIDDEN = (
    "the configuration has a definition of this name, which is in force instead; rename the CronJob, or remove one of "
    "them"
)

Status = Literal["Off", "Reading", "Unreadable", "Refused", "Current"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A CronJob that is meant to be a definition, and whose newest version is not in force.

    Attributes:
        name: of the CronJob.
        uid: of the CronJob.
        digest: of the version.
        reason: one word, for an Event.
        message: why, on one line.
    """

    name: str
    uid: str
    digest: str
    reason: Literal["DefinitionRefused", "DefinitionOverridden"]
    message: str


@dataclass(frozen=True, slots=True)
class CronJobsState:
    """How the definitions in force compare with the CronJobs.

    Attributes:
        status: `Off`: the settings turn them off; `Reading`: they have not been read yet; `Unreadable`: the API server
            does not let the service read them; `Refused`: the newest version of some is not in force; else `Current`.
        definitions: how many definitions from CronJobs are in force.
        refused: of how many CronJobs the newest version is not in force.
    """

    status: Status
    definitions: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class _Record:
    """A CronJob.

    Attributes:
        name: its name.
        uid: its uid.
        claims: whether it is meant to be a definition.
        digest: of all that its definition depends on.
        definition: of its last valid version; `None`: there was none.
        size_bytes: of that definition.
        text: why its newest version is refused; empty: it is in force.
        has_room: whether there was room for its newest version.
    """

    name: str
    uid: str
    claims: bool = False
    digest: str = ""
    definition: Definition | None = None
    size_bytes: int = 0
    text: str = ""
    has_room: bool = True


class CronJobWatcher:
    """Keeps the definitions from CronJobs in a registry equal to the CronJobs.

    Args:
        client: of the namespace.
        registry: where the definitions are put in force.

    Attributes:
        on_change: called after definitions or refusals have changed, in the watch's thread.
        watch: of all CronJobs, which others may follow, too.
    """

    def __init__(self, client: NamespacedClient, registry: Registry) -> None:
        self.on_change: Callable[[], None] = lambda: None
        self._registry = registry
        self.watch = SharedWatch(client, client.cronjobs, name="cronjobs", on_refused=self._note_unreadable)
        self._follower: Follower[_Record] = Follower(self._read, self)
        self._lock = threading.Lock()
        self._records: dict[str, _Record] = {}
        self._sizes: dict[str, int] = {}
        self._unreadable = False

    def start(self) -> None:
        """Read the CronJobs, then follow them in a thread; returns at once."""
        self._registry.await_cronjobs(True)
        self.watch.join(self._follower)

    def stop(self) -> None:
        """Stop following them; returns at once."""
        self.watch.leave(self._follower)

    @property
    def state(self) -> CronJobsState:
        """The state of what was read last."""
        refused = len(self.refusals())
        definitions = sum(definition.source == "CronJob" for definition in self._registry.all())
        status: Status = "Refused" if refused else "Current"
        if self._unreadable:
            status = "Unreadable"
        elif self._registry.awaits_cronjobs:
            status = "Reading"
        return CronJobsState(status, definitions, refused)

    def refusals(self) -> list[Refusal]:
        """Return the CronJobs whose newest version is not in force."""
        with self._lock:
            records = list(self._records.values())
        overridden = self._registry.overridden()
        found = []
        for record in records:
            if record.text:
                found.append(Refusal(record.name, record.uid, record.digest, "DefinitionRefused", record.text))
            elif record.name in overridden:
                found.append(Refusal(record.name, record.uid, record.digest, "DefinitionOverridden", _OVERRIDDEN))
        return found

    # The store of the watch. It is called by one thread at a time, but `_read` also by that of a watch that ends.

    def replace(self, records: Iterable[_Record], _version: int) -> None:
        """Hold these CronJobs and no others."""
        with self._lock:
            before = self._records
            self._records = {record.name: record for record in records if record.claims}
            self._sizes = {name: size for name, size in self._sizes.items() if name in self._records}
        if self._unreadable:
            self._unreadable = False
            log.info("the definitions from CronJobs can be read again")
        for record in self._records.values():
            self._log_refusal(before.get(record.name), record)
        self._put_in_force()

    def put(self, record: _Record) -> None:
        """Hold this CronJob, which may be new or changed."""
        before = self._records.get(record.name)
        if not record.claims:
            self.remove(record)
        elif record != before:
            with self._lock:
                self._records[record.name] = record
            self._log_refusal(before, record)
            self._put_in_force()
            self._use_room(before.size_bytes if before else 0, record.size_bytes)

    def remove(self, record: _Record) -> None:
        """Hold this CronJob no longer."""
        with self._lock:
            before = self._records.pop(record.name, None)
            self._sizes.pop(record.name, None)
        if before is not None:
            self._put_in_force()
            self._use_room(before.size_bytes, 0)

    def _use_room(self, size_before: int, size_bytes: int) -> None:
        """Read everything again if a CronJob has given up room, and others had none."""
        if size_bytes < size_before and not all(record.has_room for record in self._records.values()):
            self.watch.list_again()

    def _put_in_force(self) -> None:
        definitions = {
            name: record.definition for name, record in sorted(self._records.items()) if record.definition is not None
        }
        before = self._registry.from_cronjobs
        self._registry.replace_cronjobs(definitions, frozenset(self._records.keys() - definitions.keys()))
        if before != definitions:
            log.info("the definitions from CronJobs have changed: %s", describe_changes(before, definitions))
        self.on_change()

    def _log_refusal(self, before: _Record | None, record: _Record) -> None:
        if record.text and (before is None or before.text != record.text):
            kept = "its last valid version stays in force" if record.definition else "it is no definition"
            log.error("the CronJob %s is refused, %s: %s", record.name, kept, record.text)

    # Reading.

    def _read(self, item: Json) -> _Record:
        """Make a record of a CronJob. Whatever is in it, this raises nothing: the watch would begin again and again."""
        metadata = item["metadata"]
        known = self._records.get(metadata["name"])
        if known is None or known.uid != metadata["uid"]:
            known = None
        if not claims_definition(item):
            return _Record(metadata["name"], metadata["uid"])
        try:
            content, size_bytes = definition_content(item)
        except Refused as refusal:
            digest = f"version {metadata['resourceVersion']}"
            return self._refused(_Record(metadata["name"], metadata["uid"], True, digest), known, refusal.faults)
        digest = sha256(content.encode()).hexdigest()
        if known is not None and known.digest == digest and known.has_room:
            return known
        record = _Record(metadata["name"], metadata["uid"], True, digest)
        if not self._reserve(record.name, size_bytes):
            return self._refused(replace(record, has_room=False), known, (_NO_ROOM,))
        try:
            definition = parse_cronjob(item)
        except Refused as refusal:
            record = self._refused(record, known, refusal.faults)
            self._reserve(record.name, record.size_bytes)
            return record
        assert definition.template is not None  # a CronJob is one
        definition = replace(definition, template=definition.template.without_variables())
        return replace(record, definition=definition, size_bytes=size_bytes)

    def _refused(self, record: _Record, known: _Record | None, faults: tuple[Fault, ...]) -> _Record:
        """Return the record of a refused version: the last valid one stays."""
        text = describe_faults(faults)[:_MAX_TEXT]
        if known is None:
            return replace(record, text=text)
        return replace(record, text=text, definition=known.definition, size_bytes=known.size_bytes)

    def _reserve(self, name: str, size_bytes: int) -> bool:
        """Count what a CronJob takes; return whether there is room for it."""
        with self._lock:
            others = sum(size for other, size in self._sizes.items() if other != name)
            has_room = others + _RECORD_BYTES + size_bytes <= MAX_TOTAL_BYTES
            if has_room:
                self._sizes[name] = _RECORD_BYTES + size_bytes
            return has_room

    def _note_unreadable(self, error: ClusterError) -> None:
        self._registry.await_cronjobs(False)
        if not self._unreadable:
            self._unreadable = True
            log.warning(
                "definitions from CronJobs can't be read, those read before stay in force: %s; grant list and watch of "
                "cronjobs (k8s/base/rbac.yaml), or set SLIMFAAS_CRONJOB_DEFINITIONS to off",
                error,
            )
            self.on_change()
