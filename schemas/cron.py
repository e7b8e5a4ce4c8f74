"""Cron expressions, read and applied as Kubernetes does: by the rules of robfig/cron v3 (https://pkg.go.dev/github.com/robfig/cron/v3).

No library of Python has these rules (docs/adr/0004-libraries.md). Others accept what the API server refuses, such as 7
for Sunday or `L`, refuse what it accepts, such as `?`, and treat changes to daylight saving time in another way.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

_DAY_NAMES = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_EVERY = "@every "
_UNIT_NANOSECONDS = {
    "ns": 1, "us": 1_000, "µs": 1_000, "μs": 1_000, "ms": 1_000_000, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9,
}  # fmt: skip
_DURATION_PART = re.compile(r"([0-9]*)(?:\.([0-9]*))?(ns|us|µs|μs|ms|s|m|h)")
_MAX_INTEGER = 2**63 - 1
_MINUTE = 60
_HOUR = 60 * _MINUTE
_YEARS_AHEAD = 5


class NotACronExpressionError(ValueError):
    """The text is not a cron expression; the message says why, in the words of the API server."""


@dataclass(frozen=True, slots=True)
class _Bounds:
    minimum: int
    maximum: int
    names: tuple[str, ...] = ()  # of the numbers from the minimum on


_BOUNDS = (_Bounds(0, 59), _Bounds(0, 23), _Bounds(1, 31), _Bounds(1, 12, _MONTH_NAMES), _Bounds(0, 6, _DAY_NAMES))


@dataclass(frozen=True, slots=True)
class CronExpression:
    """The times of a cron expression. The numbers of each field are the bits that are set.

    Attributes:
        minutes: 0 to 59.
        hours: 0 to 23.
        days: of the month, 1 to 31.
        months: 1 to 12.
        weekdays: 0 (Sunday) to 6.
        needs_both_days: whether day of month and day of week must match. Otherwise one of them is enough, as when both
            fields are restricted.
        every_seconds: the period of `@every`; `None`: the fields count.
    """

    minutes: int = 0
    hours: int = 0
    days: int = 0
    months: int = 0
    weekdays: int = 0
    needs_both_days: bool = False
    every_seconds: int | None = None

    def next_after(self, moment: int, zone: tzinfo) -> int | None:
        """Return the first time after a moment, both in seconds since the epoch; `None`: there is none in five years.

        A time that a change to daylight saving time skips does not occur. A time that occurs twice counts twice.

        Args:
            moment: a time in whole seconds.
            zone: the fields are in this time zone.
        """
        if self.every_seconds is not None:
            return moment + self.every_seconds
        if not (self.minutes and self.hours and self.months and (self.days or self.weekdays)):
            return None  # a field such as "," has no number
        search = _Search(self, moment + 1, zone)
        last_year = search.local.year + _YEARS_AHEAD
        while search.local.year <= last_year:
            if search.to_month() and search.to_day() and search.to_hour() and search.to_minute():
                return search.time
        return None

    def has_day(self, local: datetime) -> bool:
        """Return whether the day of a time matches."""
        day, weekday = self.days >> local.day & 1, self.weekdays >> local.isoweekday() % 7 & 1
        return bool(day and weekday if self.needs_both_days else day or weekday)


class _Search:
    """The search for the next time, in the steps of robfig/cron, from the largest field to the smallest.

    Each step moves to the next time at which its field matches. It returns `False` when a larger field has changed, so
    that the search begins anew. As in robfig/cron, a day that begins at 1:00 does not count as such a change.
    """

    def __init__(self, expression: CronExpression, time: int, zone: tzinfo) -> None:
        self._expression = expression
        self._zone = zone
        self._is_reset = False  # whether the fields below the first one that changed are at their minimum
        self._move(time)

    def to_month(self) -> bool:
        while not self._expression.months >> self.local.month & 1:
            self._reset(day=1, hour=0, minute=0, second=0)
            local = self.local.replace(tzinfo=None, fold=0)
            first = datetime(local.year + local.month // 12, local.month % 12 + 1, 1)  # noqa: DTZ001 - local time
            self._move_to(first + (local - local.replace(day=1, hour=0)))
            if self.local.month == 1:
                return False
        return True

    def to_day(self) -> bool:
        while not self._expression.has_day(self.local):
            self._reset(hour=0, minute=0, second=0)
            self._move_to(self.local.replace(tzinfo=None, fold=0) + timedelta(days=1))
            hour = self.local.hour
            self._move(self.time + (24 - hour if hour > 12 else -hour) * _HOUR)  # midnight may not exist
            if self.local.day == 1:
                return False
        return True

    def to_hour(self) -> bool:
        while not self._expression.hours >> self.local.hour & 1:
            self._reset(minute=0, second=0)
            self._move(self.time + _HOUR)
            if self.local.hour == 0:
                return False
        return True

    def to_minute(self) -> bool:
        while self.time % _MINUTE or not self._expression.minutes >> self.local.minute & 1:
            self._is_reset = True
            self._move(self.time + _MINUTE - self.time % _MINUTE)
            if self.local.minute == 0:
                return False
        return True

    def _reset(self, **fields: Any) -> None:
        """Set the fields below the first one that changes to their minimum."""
        if not self._is_reset:
            self._is_reset = True
            self._move_to(self.local.replace(tzinfo=None, fold=0).replace(**fields))

    def _move_to(self, local: datetime) -> None:
        self._move(_seconds_of(local, self._zone))

    def _move(self, time: int) -> None:
        self.time = time
        self.local = datetime.fromtimestamp(time, self._zone)


def parse_cron(text: str) -> CronExpression:
    """Parse a cron expression: five fields, or a descriptor such as `@hourly` or `@every 90m`.

    A time zone in the expression (`TZ=`) is not accepted. The API server refuses it, too.

    Raises:
        NotACronExpressionError: the API server would refuse the text.
    """
    if not text:
        raise NotACronExpressionError("empty spec string")
    if text.startswith(_EVERY):
        return CronExpression(every_seconds=_parse_period(text))
    if text.startswith("@"):
        if text not in _DESCRIPTORS:
            raise NotACronExpressionError(f"unrecognized descriptor: {text}")
        text = _DESCRIPTORS[text]
    fields = text.split()
    if len(fields) != len(_BOUNDS):
        raise NotACronExpressionError(
            f"expected exactly {len(_BOUNDS)} fields, found {len(fields)}: [{' '.join(fields)}]"
        )
    numbers = [_parse_field(field, bounds) for field, bounds in zip(fields, _BOUNDS, strict=True)]
    minutes, hours, days, months, weekdays = (bits for bits, _ in numbers)
    return CronExpression(minutes, hours, days, months, weekdays, needs_both_days=numbers[2][1] or numbers[4][1])


def _parse_field(field: str, bounds: _Bounds) -> tuple[int, bool]:
    """Return the numbers of a field as bits, and whether one of its parts is `*` or `?`."""
    bits, has_star = 0, False
    for part in filter(None, field.split(",")):
        part_bits, is_star = _parse_part(part, bounds)
        bits, has_star = bits | part_bits, has_star or is_star
    return bits, has_star


def _parse_part(part: str, bounds: _Bounds) -> tuple[int, bool]:
    span, *steps = part.split("/")
    low, *highs = span.split("-")
    is_star = low in ("*", "?")
    if is_star:
        start, end = bounds.minimum, bounds.maximum
    else:
        start = _parse_number(low, bounds.names, bounds.minimum)
        if len(highs) > 1:
            raise NotACronExpressionError(f"too many hyphens: {part}")
        end = _parse_number(highs[0], bounds.names, bounds.minimum) if highs else start
    if len(steps) > 1:
        raise NotACronExpressionError(f"too many slashes: {part}")
    step = 1
    if steps:
        step = _parse_number(steps[0])
        end = end if highs else bounds.maximum
    if start < bounds.minimum:
        raise NotACronExpressionError(f"beginning of range ({start}) below minimum ({bounds.minimum}): {part}")
    if end > bounds.maximum:
        raise NotACronExpressionError(f"end of range ({end}) above maximum ({bounds.maximum}): {part}")
    if start > end:
        raise NotACronExpressionError(f"beginning of range ({start}) beyond end of range ({end}): {part}")
    if step == 0:
        raise NotACronExpressionError(f"step of range should be a positive number: {part}")
    return sum(1 << number for number in range(start, end + 1, step)), is_star and step == 1


def _parse_number(text: str, names: tuple[str, ...] = (), first: int = 0) -> int:
    if text.lower() in names:
        return names.index(text.lower()) + first
    if re.fullmatch(r"\+?[0-9]+", text) is None:
        raise _not_an_integer(text, "invalid syntax")
    if len(text.lstrip("+0")) > len(str(_MAX_INTEGER)) or int(text) > _MAX_INTEGER:
        raise _not_an_integer(text, "value out of range")
    return int(text)


def _not_an_integer(text: str, why: str) -> NotACronExpressionError:
    return NotACronExpressionError(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": {why}')


def _parse_period(text: str) -> int:
    """Return the seconds of `@every <duration>`: whole ones, and at least one."""
    duration = text.removeprefix(_EVERY)
    negative, rest = duration.startswith("-"), duration[1:] if duration[:1] in ("+", "-") else duration
    nanoseconds = 0
    while rest != "0" or nanoseconds:
        found = _DURATION_PART.match(rest)
        if found is None or not (found[1] or found[2]) or len(found[1]) > len(str(_MAX_INTEGER)):
            raise NotACronExpressionError(
                f'failed to parse duration {text}: time: invalid duration "{duration}"; write it like 1h30m'
            )
        fraction = (found[2] or "")[:9]
        nanoseconds += int(found[1] or 0) * _UNIT_NANOSECONDS[found[3]]
        nanoseconds += int(fraction or 0) * _UNIT_NANOSECONDS[found[3]] // 10 ** len(fraction)
        rest = rest[found.end() :]
        if not rest:
            break
    if nanoseconds > _MAX_INTEGER:
        raise NotACronExpressionError(f'failed to parse duration {text}: time: invalid duration "{duration}"')
    return 1 if negative else max(1, nanoseconds // 10**9)


def _offset(seconds: int, zone: tzinfo) -> int:
    offset = datetime.fromtimestamp(seconds, zone).utcoffset()
    assert offset is not None
    return int(offset.total_seconds())


def _seconds_of(local: datetime, zone: tzinfo) -> int:
    """Return a local time in seconds since the epoch. For one that is skipped or occurs twice, choose as Go does."""
    as_utc = int(local.replace(tzinfo=UTC).timestamp())
    offset = _offset(as_utc, zone)
    return as_utc - (_offset(as_utc - offset, zone) if offset else 0)
