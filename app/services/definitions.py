"""The catalogue: the definitions that are in force."""

from collections.abc import Mapping

from schemas.configuration import Definitions
from schemas.definition import Definition


class UnknownDefinitionError(Exception):
    """The configuration has no definition of this name."""


class Catalogue:
    """The definitions of one configuration."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._slots = {name: definition.number_parallel_job for name, definition in definitions.items()}

    def get(self, name: str) -> Definition:
        """The definition of this name.

        Raises:
            UnknownDefinitionError: there is none.
        """
        try:
            return self._definitions[name]
        except KeyError:
            raise UnknownDefinitionError(name) from None

    def all(self) -> list[Definition]:
        """Every definition, in the configuration's order."""
        return list(self._definitions.values())

    def slots(self) -> Mapping[str, int]:
        """How many runs of each definition may be active at once."""
        return self._slots
