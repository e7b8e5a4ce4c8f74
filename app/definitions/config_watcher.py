"""Following the file that holds the job configuration: a change is taken up whole, or refused and said so.

Why looking every two seconds, and what becomes of a worker that starts while the file is faulty:
docs/adr/0011-reload.md.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from app.definitions.last_valid_configuration import LastValidConfiguration
from app.definitions.registry import Registry
from app.telemetry import metrics
from schemas.configuration import Definitions, parse_configuration
from schemas.faults import Fault, Refused
from schemas.files import UnreadableError, read_document

log = logging.getLogger(__name__)

_LOOK_SECONDS = 2.0
"""How often the file is looked at; a ConfigMap reaches its files within about a minute, so this adds little."""

_FAULTS_TOLD = 20
"""So many faults of one configuration are written to the log; `slimfaas-jobs validate` tells them all."""

_MOST_OF_A_FAULT = 500
"""So many characters of each."""


@dataclass(frozen=True, slots=True)
class ConfigurationState:
    """How the configuration in force stands to what is configured.

    Attributes:
        loaded_at: when it was loaded, Unix seconds.
        faults: of what was refused since; none: what is in force is what is configured.
        loads: how many configurations have been put in force, the first one included.
        refusals: how many have been refused.
    """

    loaded_at: float
    faults: tuple[Fault, ...] = ()
    loads: int = 1
    refusals: int = 0


class ConfigWatcher:
    """Keeps a catalogue at what is configured.

    Args:
        document: the configuration that the process was started with, as JSON.
        path: the file that it came from, to be followed; `None`: it stays as it is.
        clock: Unix seconds.

    Attributes:
        registry: the definitions in force.
        on_change: called, in a thread of its own, after other definitions have been put in force.

    Raises:
        Refused: that configuration has faults.
    """

    def __init__(self, document: str, path: Path | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self.registry = Registry(parse_configuration(document))
        self.on_change: Callable[[], None] = lambda: None
        self._path = path
        self._clock = clock
        self._state = ConfigurationState(clock())
        self._in_force = self._seen = _digest(document)
        self._last_valid = None if path is None else LastValidConfiguration()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def state(self) -> ConfigurationState:
        """How things stand as of the last look."""
        return self._state

    def start(self) -> None:
        """Take up what has changed since the process was started, then follow the file; returns at once."""
        metrics.configuration_in_force(self._state.loaded_at)
        if self._path is None:
            return
        if self._path.exists() and not self._path.is_file():
            log.info("the job configuration came through a pipe, which can't be followed")
            return
        self._recall()
        self.look()
        thread = threading.Thread(target=self._follow, name="configuration", daemon=True)
        thread.start()
        self._thread = thread

    def stop(self) -> None:
        """Follow the file no longer."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def look(self) -> None:
        """Look at the file once, and take up what is new."""
        assert self._path is not None
        try:
            document = read_document(self._path)
        except UnreadableError as error:
            self._note_unreadable(error)
            return
        digest = _digest(document)
        if digest == self._seen:
            return
        self._seen = digest
        if digest == self._in_force:
            self._state = replace(self._state, faults=())
            metrics.configuration_in_force(self._state.loaded_at)
            log.info("the job configuration is again the one in force")
            return
        try:
            definitions = parse_configuration(document)
        except Refused as refusal:
            self._refuse(refusal.faults)
            return
        self._put_in_force(definitions, document)
        assert self._last_valid is not None
        self._last_valid.keep(document)

    def _follow(self) -> None:
        while not self._stop.wait(_LOOK_SECONDS):
            try:
                self.look()
            except Exception:
                # Whatever it was: the next change must not wait for somebody to restart the process.
                log.exception("the job configuration can't be looked at")

    def _recall(self) -> None:
        """Go on from what an earlier worker of this process has put in force: the file may be faulty by now."""
        assert self._last_valid is not None
        document = self._last_valid.recall()
        if document is not None and _digest(document) != self._in_force:
            self._put_in_force(parse_configuration(document), document)
            self._seen = self._in_force

    def _put_in_force(self, definitions: Definitions, document: str) -> None:
        before = {definition.name: definition for definition in self.registry.all()}
        self.registry.replace(definitions)
        self._in_force = _digest(document)
        self._state = replace(self._state, loaded_at=self._clock(), faults=(), loads=self._state.loads + 1)
        metrics.configuration_changed(refused=False)
        metrics.configuration_in_force(self._state.loaded_at)
        log.info("the job configuration has changed: %s", _describe_changes(before, definitions))
        self.on_change()

    def _refuse(self, faults: tuple[Fault, ...]) -> None:
        self._state = replace(self._state, faults=faults, refusals=self._state.refusals + 1)
        metrics.configuration_changed(refused=True)
        metrics.configuration_in_force(self._state.loaded_at, refused=True)
        # A pointer holds the document's own names, and a line of the log must stay one.
        told = "; ".join(str(fault)[:_MOST_OF_A_FAULT] for fault in faults[:_FAULTS_TOLD])
        told = "".join(character if character.isprintable() else "?" for character in told)
        more = f"; and {len(faults) - _FAULTS_TOLD} more" if len(faults) > _FAULTS_TOLD else ""
        log.error("the job configuration is faulty, the last good one stays in force: %s%s", told, more)

    def _note_unreadable(self, error: UnreadableError) -> None:
        seen = f"unreadable: {error}"
        if seen != self._seen:
            self._seen = seen
            self._refuse((Fault("", f"the file can't be read: {error}"),))


def _digest(document: str) -> str:
    return sha256(document.encode()).hexdigest()


def _describe_changes(before: Definitions, after: Definitions) -> str:
    """What has become of the definitions, by name."""
    parts = {
        "new": [name for name in after if name not in before],
        "changed": [name for name, definition in after.items() if before.get(name, definition) != definition],
        "gone": [name for name in before if name not in after],
    }
    return ", ".join(f"{what} {' '.join(names)}" for what, names in parts.items() if names) or "no definition differs"
