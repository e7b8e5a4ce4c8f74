"""The definitions in force."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.common.errors import ErrorKind, ServiceError
from schemas.configuration import Definitions
from schemas.definition import Definition


class UnknownDefinitionError(ServiceError):
    """The configuration has no definition of this name."""

    kind = ErrorKind.NOT_FOUND
    detail = "there is no such job"


@dataclass(frozen=True, slots=True)
class _Edition:
    """One configuration as a whole.

    Attributes:
        definitions: by name, in the configuration's order.
        slots: how many runs of each definition may be active at once.
    """

    definitions: Definitions
    slots: Mapping[str, int]


class Registry:
    """The definitions of one configuration at a time. Safe to share between threads.

    A new configuration replaces the old one in one step: each result is wholly from one of them.
    """

    def __init__(self, definitions: Definitions) -> None:
        self.replace(definitions)

    def replace(self, definitions: Definitions) -> None:
        """Put other definitions in force."""
        slots = {name: definition.number_parallel_job for name, definition in definitions.items()}
        self._edition = _Edition(definitions, slots)

    def get(self, name: str) -> Definition:
        """Return the definition of this name.

        Raises:
            UnknownDefinitionError: there is none.
        """
        try:
            return self._edition.definitions[name]
        except KeyError:
            raise UnknownDefinitionError(name) from None

    def all(self) -> list[Definition]:
        """Return every definition, in the configuration's order."""
        return list(self._edition.definitions.values())

    def slots(self) -> Mapping[str, int]:
        """Return how many runs of each definition may be active at once."""
        return self._edition.slots
