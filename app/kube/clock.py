"""The API server's clock, and when it last answered, as its responses tell."""

import time
from collections.abc import Callable
from contextlib import suppress
from email.utils import parsedate_to_datetime

_DEVIATION_SECONDS = 5.0
"""By how much responses may differ and still tell the same time: the header has whole seconds, and some arrive late."""


class ServerClock:
    """Reads the API server's clock off the `Date` of its responses. Safe to share between threads.

    Times in the cluster's objects were written by the cluster's clocks, and ours may be minutes off.

    Args:
        monotonic: seconds that never go back.
        own: seconds since the epoch by our own clock.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, own: Callable[[], float] = time.time) -> None:
        self._monotonic = monotonic
        self._own = own
        self._ahead_seconds: float | None = None  # of the monotonic clock
        self._deviant_seconds: float | None = None  # the same by the last response, where that tells another time
        self._answered_at = float("-inf")
        self._last_date = ("", 0.0)  # many responses tell the same second: as it was written, and read

    def note(self, date: str | None) -> None:
        """Take a response into account. One that tells another time than those before it counts once a second agrees.

        Args:
            date: its header of this name, in whole seconds. One that can't be read, or `None`, tells no time.
        """
        now = self._monotonic()
        self._answered_at = now
        if date:
            with suppress(ValueError, OverflowError):  # a proxy's idea of a date
                self._compare(self._read(date) - now)

    def _read(self, date: str) -> float:
        text, seconds = self._last_date
        if text != date:
            seconds = parsedate_to_datetime(date).timestamp()
            self._last_date = (date, seconds)
        return seconds

    def _compare(self, ahead_seconds: float) -> None:
        known, deviant = self._ahead_seconds, self._deviant_seconds
        if known is None or any(_agree(ahead_seconds, other) for other in (known, deviant)):
            self._ahead_seconds, self._deviant_seconds = ahead_seconds, None
        else:
            self._deviant_seconds = ahead_seconds

    def now(self) -> float:
        """Return seconds since the epoch, at most a second behind the API server; by our clock until that is known."""
        return self._own() if self._ahead_seconds is None else self._monotonic() + self._ahead_seconds

    @property
    def silent_seconds(self) -> float:
        """How long ago any thread of this process last had a response; infinite: never."""
        return self._monotonic() - self._answered_at


def _agree(one: float, other: float | None) -> bool:
    return other is not None and abs(one - other) <= _DEVIATION_SECONDS
