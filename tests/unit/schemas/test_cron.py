"""Cron expressions and time zones, with the answers of robfig/cron 3.0.1 and of kube-apiserver 1.37."""

import contextlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.cron import NotACronExpressionError, parse_cron
from schemas.time_zones import find_time_zone


def next_times(expression: str, after: str, zone: str = "UTC", number: int = 3) -> list[str]:
    """Return the next times in UTC."""
    moment, found = int(datetime.fromisoformat(after).replace(tzinfo=UTC).timestamp()), []
    cron, time_zone = parse_cron(expression), find_time_zone(zone)
    assert time_zone is not None
    while len(found) < number:
        moment = cron.next_after(moment, time_zone)
        if moment is None:
            break
        found.append(datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S"))
    return found


@pytest.mark.parametrize(
    ("expression", "times"),
    [
        ("* * * * *", ["2026-01-01 00:01:00", "2026-01-01 00:02:00", "2026-01-01 00:03:00"]),
        ("*/20 * * * *", ["2026-01-01 00:20:00", "2026-01-01 00:40:00", "2026-01-01 01:00:00"]),
        ("50/5 * * * *", ["2026-01-01 00:50:00", "2026-01-01 00:55:00", "2026-01-01 01:50:00"]),
        ("5,3-4 7 ? * ?", ["2026-01-01 07:03:00", "2026-01-01 07:04:00", "2026-01-01 07:05:00"]),
        ("0 0 * feb MON", ["2026-02-02 00:00:00", "2026-02-09 00:00:00", "2026-02-16 00:00:00"]),
        ("0 0 29 2 *", ["2028-02-29 00:00:00", "2032-02-29 00:00:00", "2036-02-29 00:00:00"]),
        ("@monthly", ["2026-02-01 00:00:00", "2026-03-01 00:00:00", "2026-04-01 00:00:00"]),
        ("@hourly", ["2026-01-01 01:00:00", "2026-01-01 02:00:00", "2026-01-01 03:00:00"]),
        ("@every 90m", ["2026-01-01 01:30:00", "2026-01-01 03:00:00", "2026-01-01 04:30:00"]),
        ("@every 1.5s", ["2026-01-01 00:00:01", "2026-01-01 00:00:02", "2026-01-01 00:00:03"]),
        ("@every -1h", ["2026-01-01 00:00:01", "2026-01-01 00:00:02", "2026-01-01 00:00:03"]),
        ("59 23 31 2 *", []),
        (", * * * *", []),
    ],
)
def test_next_after__expression(expression, times):
    assert next_times(expression, "2026-01-01 00:00:00") == times


def test_next_after__either_day_when_both_are_restricted():
    assert next_times("0 0 13 * fri", "2026-02-01 00:00:00", number=4) == [
        "2026-02-06 00:00:00",
        "2026-02-13 00:00:00",
        "2026-02-20 00:00:00",
        "2026-02-27 00:00:00",
    ]


def test_next_after__both_days_when_one_has_a_star():
    assert next_times("0 0 */1 * fri", "2026-02-01 00:00:00", number=1) == ["2026-02-06 00:00:00"]


def test_next_after__time_that_daylight_saving_skips__does_not_occur_that_day():
    assert next_times("30 2 * * *", "2026-03-28 02:00:00", "Europe/Paris", 2) == [
        "2026-03-30 00:30:00",
        "2026-03-31 00:30:00",
    ]


def test_next_after__time_that_occurs_twice__counts_twice():
    assert next_times("30 2 * * *", "2026-10-24 12:00:00", "Europe/Paris", 3) == [
        "2026-10-25 00:30:00",
        "2026-10-25 01:30:00",
        "2026-10-26 01:30:00",
    ]


@pytest.mark.parametrize(
    ("expression", "zone", "after", "times"),
    [
        ("@daily", "Asia/Beirut", "2026-03-27 23:00:00", ["2026-03-29 21:00:00", "2026-03-30 21:00:00"]),
        ("0 3 * * *", "Australia/Lord_Howe", "2026-10-02 12:00:00", ["2026-10-02 16:30:00", "2026-10-04 16:00:00"]),
    ],
)
def test_next_after__midnight_or_half_an_hour_is_skipped(expression, zone, after, times):
    assert next_times(expression, after, zone, 2) == times


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "empty spec string"),
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("* * * * * *", "expected exactly 5 fields, found 6: [* * * * * *]"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("* * * * 7", "end of range (7) above maximum (6): 7"),
        ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("1/2/3 * * * *", "too many slashes: 1/2/3"),
        ("L * * * *", 'failed to parse int from L: strconv.Atoi: parsing "L": invalid syntax'),
        ("٣ * * * *", 'failed to parse int from ٣: strconv.Atoi: parsing "٣": invalid syntax'),
        (f"{2**63} * * * *", f'failed to parse int from {2**63}: strconv.Atoi: parsing "{2**63}": value out of range'),
        ("@reboot", "unrecognized descriptor: @reboot"),
        ("@every 5", 'failed to parse duration @every 5: time: invalid duration "5"; write it like 1h30m'),
        ("TZ=UTC 0 0 * * *", "expected exactly 5 fields, found 6: [TZ=UTC 0 0 * * *]"),
    ],
)
def test_parse_cron__what_the_api_server_refuses(expression, message):
    with pytest.raises(NotACronExpressionError) as caught:
        parse_cron(expression)
    assert str(caught.value) == message


@given(st.text(max_size=40))
def test_parse_cron__any_text__raises_no_other_error(text):
    with contextlib.suppress(NotACronExpressionError):
        assert parse_cron(text).next_after(0, UTC) != 0


@pytest.mark.parametrize("name", ["UTC", "Europe/Paris", "America/Argentina/Buenos_Aires", "Etc/GMT+5"])
def test_find_time_zone__name_of_the_database(name):
    assert str(find_time_zone(name)) == name


@pytest.mark.parametrize(
    "name", ["", "Local", "local", "europe/paris", "Europe", "Nowhere/City", "../UTC", "/UTC", "UTC\0", "a" * 20, "-x"]
)
def test_find_time_zone__anything_else(name):
    assert find_time_zone(name) is None
