"""What the chaos suite reads in the logs of the service's processes."""

from tests.chaos.processes import find_unexpected

HUNG = "2026-11-29 02:17:28,324 CRITICAL gunicorn.error WORKER TIMEOUT (pid:21776)\n"
KILLED = "2026-11-29 02:17:28,509 ERROR gunicorn.error Worker (pid:21776) was sent SIGKILL! Perhaps out of memory?\n"


def test_find_unexpected__reports_workers_that_hung_or_were_killed() -> None:
    expected = ["worker 21776 hung", "worker 21776 was killed, but not by the suite"]
    assert find_unexpected(HUNG + KILLED, killed={1}) == expected


def test_find_unexpected__expects_the_end_of_workers_that_the_suite_killed_or_paused() -> None:
    assert find_unexpected(HUNG + KILLED, killed={21776}) == []


def test_find_unexpected__reports_each_traceback() -> None:
    traceback = "Traceback (most recent call last):\n"
    assert find_unexpected(HUNG + 2 * traceback, killed={21776}) == 2 * ["a traceback in its log"]
