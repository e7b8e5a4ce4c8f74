"""Following the file that holds the job configuration: a change is put in force as a whole, or refused and logged.

Why the file is read every two seconds, and what a worker serves that starts while the file is faulty:
docs/adr/0011-reload.md.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from app.definitions.change_texts import describe_changes, describe_faults
from app.definitions.last_valid_configuration import LastValidConfiguration
from app.definitions.registry import Registry
from app.telemetry import metrics
from schemas.configuration import Definitions, parse_configuration
from schemas.faults import Fault, Refused
from schemas.files import UnreadableError, read_document

log = logging.getLogger(__name__)

_POLL_SECONDS = 2.0
"""How often the file is read. The kubelet updates a mounted ConfigMap within about a minute, so this adds little."""


@dataclass(frozen=True, slots=True)
class ConfigurationState:
    """How the configuration in force compares with the file.

    Attributes:
        loaded_at: when the configuration in force was loaded, Unix seconds.
        faults: of the file's content, if it was refused; empty: the file's content is in force.
        loads: how many configurations have been put in force, the first one included.
        refusals: how many have been refused.
    """

    loaded_at: float
    faults: tuple[Fault, ...] = ()
    loads: int = 1
    refusals: int = 0


class ConfigWatcher:
    """Keeps a registry equal to the job configuration.

    Args:
        document: the configuration that the process was started with, as JSON.
        path: the file to follow, which the document came from; `None`: the configuration never changes.
        clock: Unix seconds.

    Attributes:
        registry: the definitions in force.
        on_change: called after other definitions have been put in force, in the watcher's thread.

    Raises:
        Refused: that configuration has faults.
    """

    def __init__(self, document: str, path: Path | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self.registry = Registry(parse_configuration(document))
        self.on_change: Callable[[], None] = lambda: None
        self._path = path
        self._clock = clock
        self._state = ConfigurationState(clock())
        self._digest_in_force = self._last_seen = _digest(document)
        self._last_valid = LastValidConfiguration()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def state(self) -> ConfigurationState:
        """The state as of the last read of the file."""
        return self._state

    def start(self) -> None:
        """Load what has changed since the process was started, then follow the file in a thread; returns at once."""
        metrics.configuration_in_force(self._state.loaded_at)
        if self._path is None:
            return
        if self._path.exists() and not self._path.is_file():
            log.info("the job configuration was read from a pipe; restart the service to change it")
            return
        self._restore_last_valid()
        self.reload(self._path)
        thread = threading.Thread(target=self._follow, args=(self._path,), name="configuration", daemon=True)
        thread.start()
        self._thread = thread

    def stop(self) -> None:
        """Stop following the file."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def reload(self, path: Path) -> None:
        """Read the file once, and put its content in force if it has changed and is valid."""
        try:
            document = read_document(path)
        except UnreadableError as error:
            self._note_unreadable(error)
            return
        digest = _digest(document)
        if digest == self._last_seen:
            return
        self._last_seen = digest
        if digest == self._digest_in_force:
            self._state = replace(self._state, faults=())
            metrics.configuration_in_force(self._state.loaded_at)
            log.info("the configuration file is again the same as the configuration in force")
            return
        try:
            definitions = parse_configuration(document)
        except Refused as refusal:
            self._refuse(refusal.faults)
            return
        self._put_in_force(definitions, document)
        self._last_valid.save(document)

    def _follow(self, path: Path) -> None:
        while not self._stop.wait(_POLL_SECONDS):
            try:
                self.reload(path)
            except Exception:
                # Go on whatever it was: the next change must not wait for somebody to restart the process.
                log.exception("the job configuration can't be reloaded")

    def _restore_last_valid(self) -> None:
        """Continue with what an earlier worker of this service has put in force: the file may be faulty by now."""
        document = self._last_valid.load()
        if document is None or _digest(document) == self._digest_in_force:
            return
        try:
            definitions = parse_configuration(document)
        except Refused:  # its writer was killed in the middle
            return
        self._put_in_force(definitions, document)
        self._last_seen = self._digest_in_force

    def _put_in_force(self, definitions: Definitions, document: str) -> None:
        before = self.registry.configured
        self.registry.replace(definitions)
        self._digest_in_force = _digest(document)
        self._state = replace(self._state, loaded_at=self._clock(), faults=(), loads=self._state.loads + 1)
        metrics.configuration_changed(refused=False)
        metrics.configuration_in_force(self._state.loaded_at)
        log.info("the job configuration has changed: %s", describe_changes(before, definitions))
        self.on_change()

    def _refuse(self, faults: tuple[Fault, ...]) -> None:
        self._state = replace(self._state, faults=faults, refusals=self._state.refusals + 1)
        metrics.configuration_changed(refused=True)
        metrics.configuration_in_force(self._state.loaded_at, refused=True)
        log.error("the job configuration is faulty, the last valid one stays in force: %s", describe_faults(faults))

    def _note_unreadable(self, error: UnreadableError) -> None:
        seen = f"unreadable: {error}"
        if seen != self._last_seen:
            self._last_seen = seen
            self._refuse((Fault("", f"the file can't be read: {error}"),))


def _digest(document: str) -> str:
    return sha256(document.encode()).hexdigest()
