"""The names of runs and schedules."""

from app.domain.names import cronjob_name, find_job_name, is_schedule_id, is_secret_id, new_id, schedule_ids
from schemas.request import Request
from schemas.schedules import Schedule

DAILY = Schedule("0 0 * * *", Request())


def test_schedule_ids__are_the_same_in_every_process() -> None:
    """A changed id would remove every CronJob, and make it anew."""
    assert schedule_ids("report", [DAILY]) == ["7c3e3qsz"]


def test_schedule_ids__follow_the_times_only() -> None:
    changed = Schedule("0 0 * * *", Request(args=("1",)), suspend=True, concurrency_policy="Forbid")
    assert schedule_ids("report", [changed]) == schedule_ids("report", [DAILY])
    others = [Schedule("0 1 * * *", Request()), Schedule("0 0 * * *", Request(), time_zone="Europe/Paris")]
    ids = schedule_ids("report", [DAILY, *others]) + schedule_ids("other", [DAILY])
    assert len(set(ids)) == 4


def test_schedule_ids__tell_equal_times_apart() -> None:
    first, second = schedule_ids("report", [DAILY, DAILY])
    assert first != second
    assert schedule_ids("report", [DAILY]) == [first]


def test_ids__of_schedules_have_a_form_of_their_own() -> None:
    (configured,) = schedule_ids("report", [DAILY])
    assert is_schedule_id(configured)
    assert is_schedule_id(new_id())
    assert not any(map(is_schedule_id, ("", "abcdefghi", "ABCDEFGH", "abcdefg1", "abcdefgh\n", "abcdefghijklm")))


def test_find_job_name__takes_no_job_that_a_person_has_named_for_that_of_a_secret_id() -> None:
    assert find_job_name("report", "nightlyclean") == "report-slimfaas-job-nightlyclean"
    assert is_secret_id("report", "nightlyclean")
    for name in ("nightly-clean", "report-7c3e3qsz-29453760", "nightlycleaner", "report-nightlyclean-1"):
        assert find_job_name("report", name) == name
        assert not is_secret_id("report", name)


def test_cronjob_name__leaves_room_for_the_minutes() -> None:
    assert len(cronjob_name("a" * 30, new_id())) <= 52
    assert len(f"{cronjob_name('a' * 30, new_id())}-{10**12 // 60}") <= 63
