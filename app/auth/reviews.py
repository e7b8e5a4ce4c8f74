"""Asks the API server who a token belongs to, and what that user may do; remembers the answers for seconds."""

import time
from collections.abc import Callable

from app.auth.actions import GROUP, Action, Permission
from app.auth.identities import undecided
from app.auth.token_cache import TokenCache
from app.auth.tokens import InvalidTokenError, read_claims
from app.auth.users import User, read_user
from app.common.concurrency_limiter import ConcurrencyLimiter
from app.common.single_flight_cache import SingleFlightCache
from app.kube.client import NamespacedClient
from app.kube.errors import ClusterError

ALLOWED_SECONDS = 5.0
DENIED_SECONDS = 2.0
"""How long an answer is remembered. A denial for less: people wait for a new right."""

_USER_BYTES = 1024 * 1024
_ANSWERS = 1024
_LOOKUPS_FOR_ANYONE = 2


class Reviews:
    """Reviews tokens and access. Safe to share between threads.

    Args:
        client: sends the reviews.
        audience: the audience of tokens that are made for this service. Tokens for the API server are accepted, too.
        limiter: limits how many requests wait for a review.
        clock: returns monotonic seconds.
    """

    def __init__(
        self,
        client: NamespacedClient,
        audience: str,
        limiter: ConcurrencyLimiter,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._audience = audience
        self._users: TokenCache[User] = TokenCache(
            limiter, size_of=lambda user: user.size_bytes, max_bytes=_USER_BYTES, clock=clock
        )
        # Callers without a token can make up names of definitions. They must neither displace the answers about users
        # nor keep users from asking.
        few = ConcurrencyLimiter(_LOOKUPS_FOR_ANYONE, within=limiter, max_waiting=_LOOKUPS_FOR_ANYONE, name="lookups")
        self._answers, self._answers_to_anyone = (
            SingleFlightCache[bool](
                limiter_of_kind,
                seconds=ALLOWED_SECONDS,
                seconds_of=lambda allowed: ALLOWED_SECONDS if allowed else DENIED_SECONDS,
                kind="access",
                size=size,
                clock=clock,
            )
            for limiter_of_kind, size in ((limiter, _ANSWERS), (few, _ANSWERS // 4))
        )

    def find_user(self, token: str) -> User:
        """Find the user of a token; the result is a few seconds old at most.

        Raises:
            InvalidTokenError: the API server does not accept the token.
            UndecidedError: the call to the API server failed.
            BusyError: too many requests wait for the API server.
        """
        return self._users.find(token, lambda: self._review_token(token))

    def is_allowed(self, user: User, action: Action, definition: str) -> bool:
        """Return whether a user may do something with a definition.

        Args:
            user: who.
            action: what.
            definition: its name; empty: on all definitions, present and future ones.

        Raises:
            UndecidedError: the call to the API server failed.
            BusyError: too many requests wait for the API server.
        """
        answers = self._answers_to_anyone if user.anonymous else self._answers
        # By the action, not by its permission: what `GET /jobs/status` asks about a hidden definition must not make the
        # next request that names this definition faster than one that names an unknown one.
        key = (user.digest(), action, definition)
        return answers.get(key, lambda: self._review_access(user, action.permission, definition))

    def _review_token(self, token: str) -> User:
        """Review a token for our audience, then for those of the API server.

        A token made for us proves its holder's identity to us, and is of no use to the API server. But tokens of users
        (OIDC, webhooks) are for the API server.
        """
        claimed = read_claims(token).get("aud")
        ours = self._audience in (claimed if isinstance(claimed, list) else [claimed])
        try:
            if ours:
                try:
                    return read_user(self._client.review_token(token, self._audience), self._audience)
                except InvalidTokenError:
                    pass  # an OIDC client may have the same name
            return read_user(self._client.review_token(token, None), None)
        except ClusterError as error:
            raise undecided(error) from None  # the API server's message may quote the token

    def _review_access(self, user: User, permission: Permission, definition: str) -> bool:
        attributes = {
            "verb": permission.verb,
            "group": GROUP,
            "resource": permission.resource,
            "subresource": permission.subresource,
            "name": definition,
        }
        try:
            status = self._client.review_access(
                user.subject(), {key: value for key, value in attributes.items() if value}
            )
        except ClusterError as error:
            raise undecided(error) from error
        return status.get("allowed") is True
