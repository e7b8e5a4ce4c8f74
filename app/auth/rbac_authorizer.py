"""Lets the cluster's RBAC decide what callers may do (docs/adr/0015-permissions-by-rbac.md)."""

import re
import time
from collections.abc import Callable, Sequence

from app.auth.actions import Action
from app.auth.addresses import Address, Network, is_in, read_address
from app.auth.authorizer import AuthDecision, AuthReason, Caller
from app.auth.proxy_headers import find_client_address
from app.auth.reviews import Reviews
from app.auth.tokens import read_any_token
from app.auth.users import ANONYMOUS

_DEFINITION = re.compile(r"[a-z0-9-]{0,63}", re.ASCII)


class RbacAuthorizer:
    """Asks the API server who calls, and what this user may do. Safe to share between threads.

    Args:
        reviews: asks the API server.
        proxies: networks of the proxies whose forwarding headers are believed. The address is for the log only.
        wall_clock: returns seconds since the epoch.
    """

    identifies_all = True

    def __init__(
        self, reviews: Reviews, proxies: Sequence[Network] = (), *, wall_clock: Callable[[], float] = time.time
    ) -> None:
        self._reviews = reviews
        self._proxies = proxies
        self._wall_clock = wall_clock

    def authorize(self, caller: Caller) -> AuthDecision:
        """Find the user of a request. Without a token it is the anonymous user. No address gives any right.

        Raises:
            InvalidTokenError: the request has a token and the token is not valid.
            UndecidedError: the call to the API server failed.
            BusyError: too many requests wait for the API server.
        """
        address = self._find_address(caller)
        token = read_any_token(caller.authorization, self._wall_clock())
        if token is None:
            return AuthDecision(AuthReason.ANONYMOUS, address, user=ANONYMOUS)
        return AuthDecision(AuthReason.USER, address, user=self._reviews.find_user(token))

    def allows(self, decision: AuthDecision, action: Action, definition: str) -> bool:
        """Return whether a user may do something with a definition, as the API server says.

        Args:
            decision: about the caller.
            action: what it wants to do.
            definition: the name that the request gives, which may be no definition's; empty: all definitions.

        Raises:
            UndecidedError: the call to the API server failed.
            BusyError: too many requests wait for the API server.
        """
        if decision.user is None or not _DEFINITION.fullmatch(definition):
            return False  # no definition has such a name
        return self._reviews.is_allowed(decision.user, action, definition)

    def _find_address(self, caller: Caller) -> Address | None:
        connection = read_address(caller.address)
        if connection is not None and is_in(connection, self._proxies):
            return find_client_address(caller.forwarding, self._proxies)
        return connection
