"""What the leader holds of schedules, when answers to its calls and what the watch shows arrive in any order."""

import json
import threading

import pytest

from app.dispatcher.schedule_term import ScheduleTerm, SeenCronJob
from app.domain.schedule import StoredSchedule
from app.kube.schedule_records import configured_targets
from schemas.configuration import parse_configuration

_CONFIGURATION = {"Configurations": {"fib": {"Image": "fib:1"}}, "Schedules": {"fib": [{"Schedule": "@daily"}]}}
_TARGETS = configured_targets({one.name: one for one in parse_configuration(json.dumps(_CONFIGURATION)).values()})
[NAME] = _TARGETS
[APPLIED] = [target.applied for target in _TARGETS.values()]


def stored(version: int, uid: str = "1") -> StoredSchedule:
    return StoredSchedule(NAME, uid, str(version), "fib", configured=True, applied=APPLIED, spec_digest="d")


def seen(version: int, uid: str = "1") -> SeenCronJob:
    return SeenCronJob(NAME, version, stored(version, uid))


@pytest.fixture
def term() -> ScheduleTerm:
    """Return a term that wants one schedule, after its first list, which had none."""
    made = ScheduleTerm(threading.Condition(), lambda _cronjob: None)
    made.targets = _TARGETS
    made.replace([], 100)
    made.begin_step()
    return made


def test_answer__newer_than_a_deletion__is_kept(term: ScheduleTerm) -> None:
    """The watch shows late that the leader itself has deleted the one before."""
    term.own_deletions.add("0")
    term.remove(seen(109, uid="0"))
    assert term.keep(stored(110), written=True)
    assert (term.stored[NAME].uid, term.untold) == ("1", [])


def test_answer__older_than_a_deletion__is_dropped_and_the_deletion_told(term: ScheduleTerm) -> None:
    term.put(seen(110))
    term.remove(seen(111))
    assert not term.keep(stored(110), written=True)
    assert (term.stored, term.deleted, len(term.untold)) == ({}, {NAME: APPLIED}, 1)


def test_answer__to_a_create_that_a_later_list_lacks__is_told_as_a_deletion(term: ScheduleTerm) -> None:
    """It was created and deleted while the watch was broken."""
    term.replace([], 120)
    assert not term.keep(stored(110), written=True)
    assert (term.stored, term.deleted, len(term.untold)) == ({}, {NAME: APPLIED}, 1)


def test_answer__to_a_read_that_a_later_list_lacks__is_dropped(term: ScheduleTerm) -> None:
    term.replace([], 120)
    assert not term.keep(stored(110))
    assert (term.stored, term.deleted, term.untold) == ({}, {}, [])


def test_list__begun_before_an_own_write__keeps_what_was_written(term: ScheduleTerm) -> None:
    assert term.keep(stored(110), written=True)
    term.replace([], 105)
    assert NAME in term.stored
    term.replace([], 111)
    assert (term.stored, len(term.untold)) == ({}, 1)


@pytest.mark.parametrize("answer_is_late", [False, True])
def test_list__after_a_restore__drops_what_the_restore_took_back(term: ScheduleTerm, answer_is_late: bool) -> None:
    """Nobody has deleted it, so it is made again, and nothing is told."""
    if answer_is_late:
        term.put(seen(110))
    term.keep(stored(110), written=True)
    if not answer_is_late:
        term.put(seen(110))
    term.replace([], 105)
    assert (term.stored, term.deleted, term.untold) == ({}, {}, [])


def test_answer__older_than_a_list_of_an_earlier_step__is_kept(term: ScheduleTerm) -> None:
    """Etcd was restored to a time before that list, and the watch went on without a new one."""
    term.begin_step()
    assert term.keep(stored(90), written=True)
    assert (term.stored[NAME].uid, term.untold) == ("1", [])


@pytest.mark.parametrize("is_list", [False, True])
def test_deletion__is_forgotten_when_somebody_makes_the_cronjob_again(term: ScheduleTerm, is_list: bool) -> None:
    """Otherwise it would never be made again, once the configuration has left it out and asked for it again."""
    term.put(seen(110))
    term.remove(seen(111))
    if is_list:
        term.replace([seen(112, uid="2")], 113)
    else:
        term.put(seen(112, uid="2"))
    assert (term.deleted, term.stored[NAME].uid) == ({}, "2")


def test_own_deletion__leaves_a_later_cronjob_of_the_same_name(term: ScheduleTerm) -> None:
    """Another leader has made it before the answer to the deletion."""
    term.put(seen(110))
    term.own_deletions.add("1")
    term.remove(seen(111))
    term.put(seen(112, uid="2"))
    term.note_deletion(stored(110))
    assert term.stored[NAME].uid == "2"
