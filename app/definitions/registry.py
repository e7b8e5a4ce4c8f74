"""The definitions in force."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass

from app.common.errors import ErrorKind, ServiceError
from schemas.configuration import Definitions
from schemas.definition import FALLBACK, Definition, is_definition_name, lower_name


class UnknownDefinitionError(ServiceError):
    """The configuration has no definition of this name."""

    kind = ErrorKind.NOT_FOUND
    detail = "there is no such definition"


class DefinitionsUnreadError(ServiceError):
    """There is no definition of this name yet, but the cluster's CronJobs have not been read since the start."""

    kind = ErrorKind.UNAVAILABLE
    detail = "the definitions have not all been read yet"


@dataclass(frozen=True, slots=True)
class _Edition:
    """All definitions at one moment.

    Attributes:
        definitions: by name: the configuration's, in its order, then those of CronJobs.
        slots: how many runs of each definition may be active at once.
        overridden: the names of the CronJobs that are no definitions, because the configuration has one of that name.
        refused: the names of the CronJobs that never had a valid version.
        awaits_cronjobs: whether CronJobs are still to be read for the first time.
    """

    definitions: Definitions
    slots: Mapping[str, int]
    overridden: frozenset[str]
    refused: frozenset[str]
    awaits_cronjobs: bool


class Registry:
    """The definitions of one configuration and of the cluster's CronJobs. Safe to share between threads.

    The configuration wins over a CronJob of the same name. A change replaces everything in one step: each result is
    wholly from before it or from after it.
    """

    def __init__(self, definitions: Definitions) -> None:
        self._lock = threading.Lock()
        self._configured = definitions
        self._from_cronjobs: Definitions = {}
        self._refused: frozenset[str] = frozenset()
        self._awaits_cronjobs = False
        self._combine()

    def replace(self, definitions: Definitions) -> None:
        """Put the definitions of another configuration in force."""
        with self._lock:
            self._configured = definitions
            self._combine()

    def replace_cronjobs(self, definitions: Definitions, refused: frozenset[str] = frozenset()) -> None:
        """Put other definitions from CronJobs in force.

        Args:
            definitions: by name.
            refused: the names of the CronJobs that never had a valid version.
        """
        with self._lock:
            self._from_cronjobs, self._refused = definitions, refused
            self._awaits_cronjobs = False
            self._combine()

    def await_cronjobs(self, awaits: bool) -> None:
        """Say whether CronJobs are still to be read for the first time. Until then no name is unknown."""
        with self._lock:
            self._awaits_cronjobs = awaits
            self._combine()

    @property
    def awaits_cronjobs(self) -> bool:
        """Whether CronJobs are still to be read for the first time."""
        return self._edition.awaits_cronjobs

    @property
    def configured(self) -> Definitions:
        """The configuration's definitions by name."""
        return self._configured

    @property
    def from_cronjobs(self) -> Definitions:
        """The definitions of CronJobs by name, also those that the configuration overrides."""
        return self._from_cronjobs

    def _combine(self) -> None:
        definitions = {**self._from_cronjobs, **self._configured}
        if self._from_cronjobs:
            definitions = {name: definitions[name] for name in (*self._configured, *self._from_cronjobs)}
        slots = {name: definition.number_parallel_job for name, definition in definitions.items()}
        overridden = frozenset(self._configured.keys() & self._from_cronjobs.keys())
        self._edition = _Edition(definitions, slots, overridden, self._refused, self._awaits_cronjobs)

    def get(self, name: str) -> Definition:
        """Return the definition of this name, in upper or lower case.

        Raises:
            UnknownDefinitionError: there is none.
            DefinitionsUnreadError: there is none yet.
        """
        edition = self._edition
        try:
            return edition.definitions[lower_name(name)]
        except KeyError:
            raise _unknown(name, edition) from None

    def find(self, name: str) -> Definition | None:
        """Return the definition of this name, in lower case; `None`: there is none, or none yet."""
        return self._edition.definitions.get(name)

    def unknown(self, name: str) -> ServiceError:
        """Return the error for a definition that must look as if there was none."""
        return _unknown(name, self._edition)

    def fallback(self, name: str) -> Definition | None:
        """Return the definition that a name without one falls back to.

        Returns:
            The configuration's definition `default`; `None`: it has none, no definition could have this name, or a
            CronJob of this name is refused. A CronJob is no fallback: it must not answer for names that are not its
            own.
        """
        edition = self._edition
        found = edition.definitions.get(FALLBACK)
        if found is None or found.source != "Configuration" or lower_name(name) in edition.refused:
            return None
        return found if is_definition_name(name) else None

    def is_undecided(self, name: str) -> bool:
        """Return whether it is unknown if there is a definition of a name.

        CronJobs are still to be read, or the newest version of the one of this name is refused, and no valid one is
        known.
        """
        edition = self._edition
        return name not in edition.definitions and (edition.awaits_cronjobs or name in edition.refused)

    def all(self) -> list[Definition]:
        """Return every definition: the configuration's, in its order, then those of CronJobs by name."""
        return list(self._edition.definitions.values())

    def slots(self) -> Mapping[str, int]:
        """Return how many runs of each definition may be active at once."""
        return self._edition.slots

    def overridden(self) -> frozenset[str]:
        """Return the names of CronJobs that the configuration also has: the configuration's are in force."""
        return self._edition.overridden


def _unknown(name: str, edition: _Edition) -> ServiceError:
    return DefinitionsUnreadError(name) if edition.awaits_cronjobs else UnknownDefinitionError(name)
