"""Access control: finds the definition that a request names and checks what its caller may do with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from flask import g, request

from app.api.request_record import record
from app.auth.actions import Action
from app.auth.authorizer import (
    AuthDecision,
    Caller,
    NotPermittedError,
    NotTrustedError,
    UntrustedOnPublicError,
)
from app.auth.proxy_headers import FORWARDING_HEADERS
from app.common.errors import ServiceError
from app.definitions.registry import DefinitionsUnreadError, Registry, UnknownDefinitionError
from app.domain.names import is_id, is_secret_id
from app.domain.user_names import write_user_name
from app.runs.limits.long_requests import Trust
from schemas.definition import Definition, lower_name


class Policy(Protocol):
    """Decides who calls and what a caller may do: `Authorizer` by trust, `RbacAuthorizer` by the cluster's RBAC."""

    identifies_all: bool

    def authorize(self, caller: Caller) -> AuthDecision:
        """Find out who calls."""

    def allows(self, decision: AuthDecision, action: Action, definition: str) -> bool:
        """Decide whether the caller may do what is not open to anyone; an empty name: with all definitions."""


@dataclass(frozen=True, slots=True)
class Access:
    """What a caller may use.

    Attributes:
        definition: the definition.
        user: the caller's name, as `write_user_name` writes it; empty if it is unknown.
        own_only: whether the caller may do this only with runs or schedules that it has made itself.
    """

    definition: Definition
    user: str = ""
    own_only: bool = False

    @property
    def owner(self) -> str | None:
        """Whose runs or schedules the caller may use; `None`: everybody's."""
        return self.user if self.own_only else None


@dataclass(frozen=True, slots=True)
class Visible:
    """A definition that a caller may see.

    Attributes:
        definition: the definition.
        in_full: whether the caller may see more than its name and slots.
    """

    definition: Definition
    in_full: bool


@dataclass(frozen=True, slots=True)
class Permissions:
    """What a caller may do with one definition.

    Attributes:
        definition: the definition.
        on_all: what the caller may do with every run and schedule.
        on_own: what the caller may do only with those that it has made itself.
    """

    definition: Definition
    on_all: tuple[Action, ...]
    on_own: tuple[Action, ...]


_ON_ONE_DEFINITION = tuple(action for action in Action if action not in (Action.SEE, Action.DESCRIBE))
"""What callers do with the runs and schedules of a definition; `START` first."""


class AccessControl:
    """Grants or refuses access to definitions. Every route about definitions calls it first.

    Args:
        registry: the definitions in force.
        policy: decides who calls and what a caller may do.
        hide_private: whether callers without access get the same response for a private definition as for an unknown
            one.
        public_listing: whether anyone may do with public definitions what otherwise needs trust or a permission.
    """

    def __init__(
        self, registry: Registry, policy: Policy, *, hide_private: bool = False, public_listing: bool = False
    ) -> None:
        self._registry = registry
        self._policy = policy
        self._hide_private = hide_private
        self._public_listing = public_listing

    def require(self, name: str, action: Action, *, key: str | None = None) -> Access:
        """Return the definition of this name if the caller of the current request may do this with it.

        What is open to anyone with a single run or schedule of a public definition is so only if nobody can guess its
        id, which is the key to it.

        A name without a definition may mean the fallback, which then decides like any other definition.

        If private definitions are hidden, an unknown name gets the same look-ups. So neither the response, nor an error
        on the way, nor the time taken tells whether a private definition of that name exists.

        Args:
            name: the definition's, as the caller wrote it.
            action: what the caller wants to do.
            key: the id of the run or the schedule; `None`: it is not about a single one.

        Raises:
            UnknownDefinitionError: there is no such definition, or it is hidden from the caller.
            DefinitionsUnreadError: the same, but the definitions have not all been read yet.
            NotTrustedError: the definition is private and the caller is not trusted.
            NotPermittedError: the cluster's RBAC does not permit it.
            UntrustedOnPublicError: the definition is public, but this needs a trusted caller all the same.
            InvalidTokenError: the request has a token and the token is not valid.
            UndecidedError: the call to the API server failed.
            BusyError: too many requests wait for the API server.
        """
        definition = self._find(name, action)
        record(definition=definition.name)
        if self._policy.identifies_all:
            self._authorize()
        own_only = False
        is_guessable = key is not None and is_id(key) and not is_secret_id(definition.name, key)
        if not self._is_open(definition, action, is_guessable=is_guessable):
            limited = self._own_only(definition.name, action, public=definition.visibility == "Public")
            if limited is None:
                raise self._refusal(definition, action)
            own_only = limited
        record(access_granted=True)
        return Access(definition, self._user_name(), own_only)

    def permissions(self, name: str) -> Permissions:
        """Return the definition of this name and what the caller of the current request may do with it.

        If private definitions are hidden, only callers who may start runs get it. For other callers the same
        permissions are looked up as for an unknown name.

        Raises:
            Exception: the caller may neither start nor list runs; what `require` raises for a start.
        """
        definition = self._find(name, Action.START)
        record(definition=definition.name)
        if self._policy.identifies_all:
            self._authorize()
        public = definition.visibility == "Public"
        on_all: list[Action] = []
        on_own: list[Action] = []
        for action in _ON_ONE_DEFINITION:
            limited = not self._is_open(definition, action) and self._own_only(definition.name, action, public=public)
            if limited is not None:
                (on_own if limited else on_all).append(action)
            elif action is Action.START and self._hide_private and not public:
                raise self._refusal(definition, action)
        if Action.START not in on_all and Action.LIST not in on_all:
            raise self._refusal(definition, Action.START)
        record(access_granted=True)
        return Permissions(definition, tuple(on_all), tuple(on_own))

    def _find(self, name: str, action: Action) -> Definition:
        """Find the definition that a name means, or else the fallback.

        If private definitions are hidden, an unknown name means the fallback only to callers who may use a private
        definition of that name. To others all these names are unknown alike.
        """
        try:
            return self._registry.get(name)
        except DefinitionsUnreadError:
            if self._hide_private:
                self._own_only(lower_name(name), action, public=False)
            raise
        except UnknownDefinitionError:
            if self._hide_private and self._own_only(lower_name(name), action, public=False) is None:
                raise
            fallback = self._registry.fallback(name) if action.falls_back else None
            if fallback is None:
                raise
            return fallback

    def visible(self) -> Sequence[Visible]:
        """Return the definitions that the caller of the current request may see.

        Raises:
            InvalidTokenError: the request has a token and the token is not valid.
            UndecidedError: the call to the API server failed.
            BusyError: too many requests wait for the API server.
        """
        definitions = self._registry.all()
        every_one_open = all(self._is_open(definition, Action.DESCRIBE) for definition in definitions)
        if every_one_open and not self._hide_private and not self._policy.identifies_all:
            return [Visible(definition, in_full=True) for definition in definitions]
        decision = self._authorize()
        all_in_full = self._policy.allows(decision, Action.DESCRIBE, "")
        # One request without a token must not cost a look-up for each definition.
        ask_each = decision.user is None or not decision.user.anonymous

        def allowed(action: Action, definition: Definition) -> bool:
            return ask_each and self._policy.allows(decision, action, definition.name)

        found = []
        for definition in definitions:
            in_full = all_in_full or self._is_open(definition, Action.DESCRIBE) or allowed(Action.DESCRIBE, definition)
            if in_full or definition.visibility == "Public" or allowed(Action.SEE, definition):
                found.append(Visible(definition, in_full))
        return found

    def trust_in_caller(self, definition: Definition) -> Trust:
        """Return whether the caller of the current request would have access to the definition if it were private.

        A caller who has reached a private definition has access. A caller of a public definition is looked up only when
        the result matters, and is not trusted if the look-up fails.
        """

        def find() -> bool:
            try:
                return self._policy.allows(self._authorize(), Action.START, definition.name)
            except ServiceError:
                return False

        return Trust(definition.visibility != "Public", find)

    def _is_open(self, definition: Definition, action: Action, *, is_guessable: bool = False) -> bool:
        """Return whether anyone may do this with the definition."""
        is_open = (action.open_on_public and not is_guessable) or self._public_listing
        return definition.visibility == "Public" and is_open

    def _own_only(self, name: str, action: Action, *, public: bool) -> bool | None:
        """Return whether the caller may do this only with what it has made itself; `None`: not even with that."""
        decision = self._authorize()
        if self._policy.allows(decision, action, name):
            return False
        known = decision.user is not None and not decision.user.anonymous
        if self._policy.identifies_all and known and (needed := action.on_own) is not None:
            return True if public or self._policy.allows(decision, needed, name) else None
        return None

    def _refusal(self, definition: Definition, action: Action) -> Exception:
        if definition.visibility != "Public" and self._hide_private:
            return self._registry.unknown(definition.name)
        if self._policy.identifies_all:
            return NotPermittedError(action.permission.describe(definition.name))
        return UntrustedOnPublicError() if definition.visibility == "Public" else NotTrustedError(definition.name)

    def _user_name(self) -> str:
        """Return the name of the user that was looked up; empty if there is none."""
        decision: AuthDecision | None = g.get("auth_decision")
        if decision is None or decision.user is None or decision.user.anonymous:
            return ""
        return write_user_name(decision.user.name)

    def _authorize(self) -> AuthDecision:
        """Authorize the caller of the current request, once per request."""
        if "auth_decision" not in g:
            g.auth_decision = self._policy.authorize(_read_caller())
            record(decision=g.auth_decision)
        decision: AuthDecision = g.auth_decision
        return decision


def _read_caller() -> Caller:
    headers = {name: request.headers[name] for name in FORWARDING_HEADERS if name in request.headers}
    return Caller(request.remote_addr, headers, request.headers.get("Authorization"))
