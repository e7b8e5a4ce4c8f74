"""Access control: finds the definition that a request names and checks that its caller may use it."""

from collections.abc import Sequence

from flask import g, request

from app.api.request_record import record
from app.auth.authorizer import AuthDecision, Authorizer, Caller, NotTrustedError
from app.auth.proxy_headers import FORWARDING_HEADERS
from app.definitions.registry import Registry, UnknownDefinitionError
from schemas.definition import Definition


class AccessControl:
    """Grants or refuses access to definitions. Every route about definitions calls it first.

    Args:
        registry: the definitions in force.
        authorizer: decides whether a caller is trusted.
        hide_private: whether untrusted callers get the same response for a private definition as for an unknown one.
    """

    def __init__(self, registry: Registry, authorizer: Authorizer, *, hide_private: bool = False) -> None:
        self._registry = registry
        self._authorizer = authorizer
        self._hide_private = hide_private

    def require(self, name: str) -> Definition:
        """Return the definition of this name if the caller of the current request may use it.

        If private definitions are hidden, the caller is authorized for an unknown name too. So neither the response,
        nor an error on the way, nor the time taken tells whether a private definition of that name exists.

        Raises:
            UnknownDefinitionError: there is no such definition, or it is hidden from the caller.
            NotTrustedError: the definition is private and the caller is not trusted.
            InvalidTokenError: the request has a token and the token is not valid.
            UndecidedError: the API server could not be asked who the caller is.
            BusyError: too many requests wait for the API server.
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
        record(access_granted=True)
        return definition

    def visible(self) -> Sequence[Definition]:
        """Return the definitions that the caller of the current request may use.

        Raises:
            InvalidTokenError: the request has a token and the token is not valid.
            UndecidedError: the API server could not be asked who the caller is.
            BusyError: too many requests wait for the API server.
        """
        definitions = self._registry.all()
        public = [definition for definition in definitions if definition.visibility == "Public"]
        if len(public) == len(definitions) and not self._hide_private:
            return definitions
        return definitions if self._authorize().trusted else public

    def _authorize(self) -> AuthDecision:
        """Authorize the caller of the current request, once per request."""
        if "auth_decision" not in g:
            g.auth_decision = self._authorizer.authorize(_read_caller())
            record(decision=g.auth_decision)
        decision: AuthDecision = g.auth_decision
        return decision


def _read_caller() -> Caller:
    headers = {name: request.headers[name] for name in FORWARDING_HEADERS if name in request.headers}
    return Caller(request.remote_addr, headers, request.headers.get("Authorization"))
