"""Letting calls in: which definition a call is about, and whether its caller may use it."""

from flask import request

from app.services.callers import FORWARDING_HEADERS, Callers, NotTrustedError
from app.services.definitions import Catalogue
from schemas.definition import Definition


class Door:
    """What every route under `/job/<name>` goes through first.

    Args:
        catalogue: the definitions.
        callers: decides who may call.
    """

    def __init__(self, catalogue: Catalogue, callers: Callers) -> None:
        self._catalogue = catalogue
        self._callers = callers

    def enter(self, name: str) -> Definition:
        """The definition of this name, if the present request's caller may use it.

        Raises:
            UnknownDefinitionError: there is none.
            NotTrustedError: it is private, and the caller isn't trusted.
        """
        definition = self._catalogue.get(name)
        self._check(definition)
        return definition

    def visible(self) -> list[Definition]:
        """The definitions that the present request's caller may use, in the order of the configuration."""
        return [definition for definition in self._catalogue.all() if self._lets_in(definition)]

    def _lets_in(self, definition: Definition) -> bool:
        try:
            self._check(definition)
        except NotTrustedError:
            return False
        return True

    def _check(self, definition: Definition) -> None:
        forwarded = any(header in request.headers for header in FORWARDING_HEADERS)
        self._callers.check(definition, request.remote_addr, forwarded=forwarded)
