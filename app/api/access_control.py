"""Letting calls in: which definition a call is about, and whether its caller may use it."""

from collections.abc import Sequence

from flask import g, request

from app.api.access_log import record
from app.auth.authorizer import AuthDecision, Authorizer, Caller, NotTrustedError
from app.auth.proxy_headers import FORWARDING_HEADERS
from app.definitions.registry import Registry, UnknownDefinitionError
from schemas.definition import Definition


class AccessControl:
    """What every route that is about definitions goes through first.

    Args:
        registry: the definitions.
        callers: decides who may call.
        hide_private: whether a private definition looks to strangers as if there were none.
    """

    def __init__(self, registry: Registry, callers: Authorizer, *, hide_private: bool = False) -> None:
        self._registry = registry
        self._authorizer = callers
        self._hide_private = hide_private

    def require(self, name: str) -> Definition:
        """The definition of this name, if the present request's caller may use it.

        Where private definitions are hidden, a caller is judged in the same way for a name that there isn't: neither
        the answer, nor what goes wrong on the way to it, nor the time that it takes tells the two apart.

        Raises:
            UnknownDefinitionError: there is none, or its being there is hidden from the caller.
            NotTrustedError: it is private, and the caller isn't trusted.
            InvalidTokenError: the caller is to be judged by a token that isn't good.
            UndecidedError: the caller can't be judged now.
            BusyError: the same, for too many wait already.
        """
        try:
            definition = self._registry.get(name)
        except UnknownDefinitionError:
            if self._hide_private:
                self._authorize()
            raise
        record(definition=definition.name)
        if definition.visibility != "Public" and not self._authorize().trusted:
            raise UnknownDefinitionError(name) if self._hide_private else NotTrustedError(name)
        record(entered=True)
        return definition

    def visible(self) -> Sequence[Definition]:
        """The definitions that the present request's caller may use; the caller is judged once, if at all.

        Raises:
            InvalidTokenError: the caller is to be judged by a token that isn't good.
            UndecidedError: the caller can't be judged now.
            BusyError: the same, for too many wait already.
        """
        definitions = self._registry.all()
        public = [definition for definition in definitions if definition.visibility == "Public"]
        if len(public) == len(definitions) and not self._hide_private:
            return definitions
        return definitions if self._authorize().trusted else public

    def _authorize(self) -> AuthDecision:
        """Judge the present request's caller, once."""
        if "decision" not in g:
            g.decision = self._authorizer.authorize(_caller())
            record(decision=g.decision)
        decision: AuthDecision = g.decision
        return decision


def _caller() -> Caller:
    headers = {name: request.headers[name] for name in FORWARDING_HEADERS if name in request.headers}
    return Caller(request.remote_addr, headers, request.headers.get("Authorization"))
