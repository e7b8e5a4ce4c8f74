"""Durations as `kubectl` prints them: two or three significant figures."""

_MINUTE = 60
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_YEAR = 365 * _DAY


def shorten_duration(seconds: float) -> str:
    """Write a duration as `k8s.io/apimachinery/pkg/util/duration.HumanDuration` does: 5m30s, 3h, 2d4h."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 2 * _MINUTE:
        return f"{max(whole, 0)}s"
    # (upper bound, unit, smaller unit to show as well or 0)
    for limit, (unit, sign), (rest_unit, rest_sign) in (
        (10 * _MINUTE, (_MINUTE, "m"), (1, "s")),
        (3 * _HOUR, (_MINUTE, "m"), (0, "")),
        (8 * _HOUR, (_HOUR, "h"), (_MINUTE, "m")),
        (2 * _DAY, (_HOUR, "h"), (0, "")),
        (8 * _DAY, (_DAY, "d"), (_HOUR, "h")),
        (2 * _YEAR, (_DAY, "d"), (0, "")),
        (8 * _YEAR, (_YEAR, "y"), (_DAY, "d")),
    ):
        if whole < limit:
            rest = whole % unit // rest_unit if rest_unit else 0
            return f"{whole // unit}{sign}" + (f"{rest}{rest_sign}" if rest else "")
    return f"{whole // _YEAR}y"
