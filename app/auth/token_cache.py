"""Remembers whose the tokens of callers are, and keeps tokens that callers make up from blocking good ones."""

import hashlib
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from app.auth.tokens import InvalidTokenError
from app.common.concurrency_limiter import ConcurrencyLimiter
from app.common.expiring_cache import ExpiringCache
from app.common.single_flight_cache import SingleFlightCache
from app.telemetry import metrics

TOKEN_SECONDS = 4.0
"""How long a valid token is remembered. kube-apiserver remembers it for ten seconds more, so that a token that is
revoked is refused within 15 seconds."""

_DENIAL_SECONDS, _DENIALS = 2.0, 256
_VALID_BEFORE_SECONDS, _TOKENS = 900.0, 512

_LOOKUPS_OF_NEW_TOKENS = 2
_WAITING_LOOKUPS_OF_NEW_TOKENS = 4

_T = TypeVar("_T")


class TokenCache(Generic[_T]):
    """Finds whose a token is, and remembers it for seconds. Safe to share between threads.

    It keeps digests, so that no token stays in memory. Tokens that were not valid within the last minutes get a few of
    the places for look-ups, and their denials are kept apart. So callers who make up tokens neither keep others from
    asking nor displace what is known about them.

    Args:
        limiter: limits all look-ups.
        size_of: how many bytes of `max_bytes` a result takes.
        max_bytes: how many bytes all results may take together.
        clock: returns monotonic seconds.
    """

    def __init__(
        self,
        limiter: ConcurrencyLimiter,
        *,
        size_of: Callable[[_T], int] = lambda _: 0,
        max_bytes: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._found: SingleFlightCache[_T] = SingleFlightCache(
            limiter,
            seconds=TOKEN_SECONDS,
            kind="token",
            size=_TOKENS,
            size_of=size_of,
            max_bytes=max_bytes,
            clock=clock,
        )
        self._few = ConcurrencyLimiter(
            _LOOKUPS_OF_NEW_TOKENS, within=limiter, max_waiting=_WAITING_LOOKUPS_OF_NEW_TOKENS, name="lookups"
        )
        self._lock = threading.Lock()
        self._denials: ExpiringCache[bytes, str] = ExpiringCache(_DENIAL_SECONDS, max_entries=_DENIALS, clock=clock)
        self._valid_before: ExpiringCache[bytes, bool] = ExpiringCache(
            _VALID_BEFORE_SECONDS, max_entries=_TOKENS, clock=clock
        )

    def find(self, token: str, review: Callable[[], _T]) -> _T:
        """Return what a review of the token has found; the result is at most `TOKEN_SECONDS` old.

        Args:
            token: the token.
            review: reviews it; raises `InvalidTokenError` if the API server does not accept it.

        Raises:
            InvalidTokenError: the API server does not accept the token, or did not within the last two seconds.
            BusyError: too many requests look up callers.
            Exception: what else `review` raises.
        """
        digest = hashlib.sha256(token.encode()).digest()
        with self._lock:
            denial, was_valid = self._denials.get(digest), self._valid_before.get(digest)
        if denial is not None:
            metrics.LOOKUPS.labels("token", "remembered").inc()
            raise InvalidTokenError(denial)
        try:
            found = self._found.get(digest, review, limiter=None if was_valid else self._few)
        except InvalidTokenError as error:
            with self._lock:
                self._denials.put(digest, str(error))
                self._valid_before.drop(digest)
            raise InvalidTokenError(str(error)) from None  # the other requests for this token raise the same object
        with self._lock:
            self._valid_before.put(digest, True)
        return found
