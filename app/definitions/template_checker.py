"""Checks the templates of the definitions in force with the API server, before anybody starts a run.

A template that the API server does not accept concerns only its own definition: the process serves all others. The log
names the definition and the field, and `/ready` tells how many there are.
"""

import logging
import threading
import time
from collections.abc import Mapping

from app.common.backoff import Backoff, jittered
from app.definitions.preflight import find_causes, try_job
from app.definitions.registry import Registry
from app.kube.client import NamespacedClient
from app.kube.errors import ClusterError, InvalidError
from schemas.cronjobs import cronjob_pointer
from schemas.definition import Definition
from schemas.faults import Fault

log = logging.getLogger(__name__)

_FIRST_RETRY_SECONDS = 5.0
_LAST_RETRY_SECONDS = 300.0
"""How long to wait before a template is checked again that was refused, or that could not be checked."""

_MAX_LOGGED_LENGTH = 500
"""How many characters of one fault are logged."""


class TemplateChecker:
    """Knows which templates the API server refuses.

    Each template is checked once, by a dry run, after it has come into force. Only those that were refused are checked
    again, less and less often, because the cluster may change.

    Args:
        client: of the namespace that runs are in.
        registry: the definitions in force.
    """

    def __init__(self, client: NamespacedClient, registry: Registry) -> None:
        self._client = client
        self._registry = registry
        self._accepted: dict[str, Definition] = {}
        self._refused: Mapping[str, tuple[Fault, ...]] = {}
        self._changed = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def refused(self) -> Mapping[str, tuple[Fault, ...]]:
        """The faults of each refused template by the name of its definition, with pointers of the configuration."""
        return self._refused

    def start(self) -> None:
        """Check the templates in a thread, if there are any; returns at once."""
        self._changed.set()
        if self._thread is None and any(definition.template for definition in self._registry.all()):
            self._thread = threading.Thread(target=self._follow, name="templates", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop the thread, after the call that it is in."""
        self._stop.set()
        self._changed.set()
        if self._thread is not None:
            self._thread.join()

    def check(self) -> bool:
        """Check every template that is not known to be accepted; returns whether all are accepted now."""
        definitions = {one.name: one for one in self._registry.all() if one.template is not None}
        accepted: dict[str, Definition] = {}
        refused: dict[str, tuple[Fault, ...]] = {}
        for name, definition in definitions.items():
            if self._stop.is_set():
                return True
            if self._accepted.get(name) == definition:
                accepted[name] = definition
                continue
            try:
                try_job(self._client, definition)
            except InvalidError as error:
                faults = find_causes(error, definition, definition.pointer())
                if definition.source == "CronJob":
                    faults = (Fault(cronjob_pointer(fault.pointer, name), fault.message) for fault in faults)
                refused[name] = tuple(faults)
            except ClusterError as error:
                # A quota, an outage or a missing right says nothing about the template.
                log.info("the template of %s could not be checked: %s", name, error)
                if name in self._refused:
                    refused[name] = self._refused[name]
            else:
                accepted[name] = definition
        self._log_changes(refused, accepted)
        self._accepted, self._refused = accepted, refused
        return len(accepted) == len(definitions)

    def _log_changes(self, refused: Mapping[str, tuple[Fault, ...]], accepted: Mapping[str, Definition]) -> None:
        for name, faults in refused.items():
            if self._refused.get(name) != faults:
                text = "; ".join(str(fault)[:_MAX_LOGGED_LENGTH] for fault in faults)
                log.error("the API server does not accept the template of %s, so it can start no run: %s", name, text)
        for name in self._refused.keys() & accepted.keys():
            log.info("the API server accepts the template of %s now", name)

    def _follow(self) -> None:
        backoff = Backoff(_FIRST_RETRY_SECONDS, _LAST_RETRY_SECONDS)
        seconds: float | None = 0.0
        while not self._stop.is_set():
            if self._changed.wait(seconds):
                self._changed.clear()
                backoff = backoff.reset()
            if self._stop.is_set():
                return
            try:
                all_accepted = self.check()
            except Exception:
                log.exception("the templates can't be checked")
                all_accepted = False
            backoff = backoff.reset() if all_accepted else backoff.next(time.monotonic())
            seconds = None if all_accepted else jittered(backoff.seconds)
