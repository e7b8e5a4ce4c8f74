"""Each promise, broken in a history made for it, is counted; and a history that keeps them all counts nothing."""

from dataclasses import replace
from itertools import count

import pytest

from tests.chaos.callers import Told
from tests.chaos.history import LeaseVersion, PodVersion, RunVersion, Version, WorkloadVersion
from tests.chaos.invariants import NOTICED_SECONDS, Counts, tally

SLOTS = {"one": 1, "two": 2}


class Story:
    """Writes a history, one revision after the other, a second apart."""

    def __init__(self) -> None:
        self.versions: list[Version] = []
        self.told: list[Told] = []
        self.moment = 0.0
        self._revisions = count(1)
        self._last: dict[str, RunVersion] = {}

    def _base(self, name: str) -> dict[str, object]:
        self.moment += 1.0
        return {"revision": next(self._revisions), "seen_at": self.moment, "name": name}

    def call(self, mark: str, *answers: str, definition: str = "one", keyed: bool = True, in_doubt: int = 0) -> None:
        """Somebody called, and was told of these runs."""
        self.told.append(Told(mark, definition, keyed, accepted=list(answers), in_doubt=in_doubt))

    def run(self, name: str, definition: str = "one", mark: str = "", depends_on: tuple[str, ...] = ()) -> None:
        """One is created, suspended."""
        created = RunVersion(
            **self._base(name),  # type: ignore[arg-type]
            uid=f"uid-{len(self.versions)}",
            definition=definition,
            mark=mark or f"call-{name}",
            depends_on=depends_on,
            suspended=True,
        )
        self._keep(created)

    def change(self, name: str, **fields: object) -> None:
        """A run is written once more."""
        self._keep(replace(self._last[name], **(self._base(name) | fields)))  # type: ignore[arg-type]

    def start(self, name: str) -> None:
        """It is admitted."""
        self.change(name, suspended=False)

    def end(self, name: str) -> None:
        """It has done its work."""
        self.change(name, end="Complete")

    def delete(self, name: str) -> None:
        """It is gone."""
        self.versions.append(RunVersion(**self._base(name), gone=True))  # type: ignore[arg-type]

    def pod(self, name: str, run: str, *, alive: bool = True, definition: str = "one") -> None:
        """A pod of a run is written."""
        self.versions.append(PodVersion(**self._base(name), run=run, definition=definition, alive=alive))  # type: ignore[arg-type]

    def turn(self, name: str, *, ready: bool) -> None:
        """A Deployment is written."""
        self.versions.append(WorkloadVersion(**self._base(name), ready=ready))  # type: ignore[arg-type]

    def elect(self, holder: str) -> None:
        """The Lease is written."""
        self.versions.append(LeaseVersion(**self._base("lease"), holder=holder))  # type: ignore[arg-type]

    def _keep(self, version: RunVersion) -> None:
        self._last[version.name] = version
        self.versions.append(version)

    def count(self) -> Counts:
        """What came of it all."""
        return tally(self.versions, self.told, SLOTS)


@pytest.fixture
def story() -> Story:
    """A history in which nothing has been broken, to which tests add what they like."""
    told = Story()
    told.elect("a")
    told.turn("database", ready=True)
    for name in ("first", "second"):
        told.call(f"call-{name}", name)
        told.run(name, depends_on=("database",))
        told.start(name)
        told.pod(f"{name}-pod", name)
        told.pod(f"{name}-pod", name, alive=False)
        told.end(name)
    assert not told.count().broken
    assert told.count().accepted == 2
    assert told.count().most_active == told.count().most_with_pods == {"one": 1, "two": 0}
    return told


def test_a_run_that_was_answered_and_never_stored_is_lost(story: Story) -> None:
    """Whoever got 202 for it was lied to."""
    story.call("call-third", "third")
    assert len(story.count().lost) == 1


def test_a_run_that_was_never_started_is_lost(story: Story) -> None:
    """It lies in the queue for ever."""
    story.call("call-third", "third")
    story.run("third")
    assert len(story.count().lost) == 1


def test_a_run_that_never_ends_is_lost(story: Story) -> None:
    """It was started, and that was it."""
    story.call("call-third", "third")
    story.run("third")
    story.start("third")
    assert len(story.count().lost) == 1


def test_a_run_that_fails_is_lost(story: Story) -> None:
    """For every container of the suite does well."""
    story.call("call-third", "third")
    story.run("third")
    story.start("third")
    story.change("third", end="Failed")
    assert len(story.count().lost) == 1


def test_a_run_that_is_deleted_is_lost(story: Story) -> None:
    """Nobody asked for that, also after its end."""
    story.delete("second")
    assert len(story.count().lost) == 1


def test_an_answer_that_names_the_run_of_another_call_is_a_loss(story: Story) -> None:
    """Its own is nowhere."""
    story.call("call-third", "first")
    assert len(story.count().lost) == 1


def test_a_call_that_made_two_runs_is_doubled(story: Story) -> None:
    """Though its caller was told of one."""
    story.run("again", mark="call-first")
    assert len(story.count().doubled) == 1


def test_a_call_that_was_told_of_two_runs_is_doubled(story: Story) -> None:
    """The same key leads to the same run."""
    story.told[0].accepted.append("second")
    assert len(story.count().doubled) == 1


def test_a_run_that_is_started_twice_is_doubled(story: Story) -> None:
    """It was suspended in between."""
    story.call("call-third", "third")
    story.run("third")
    story.start("third")
    story.change("third", suspended=True)
    story.start("third")
    story.end("third")
    assert len(story.count().doubled) == 1


def test_a_name_that_is_used_twice_is_doubled(story: Story) -> None:
    """The first run came to its end and went; a late create made the second."""
    story.delete("first")
    story.run("first")
    assert len(story.count().doubled) == 1


def test_a_run_that_nobody_called_for_is_doubled(story: Story) -> None:
    """It must come from somewhere."""
    story.run("stray")
    assert len(story.count().doubled) == 1


def test_a_call_without_a_key_that_was_left_in_doubt_may_have_its_run(story: Story) -> None:
    """Once, and not twice."""
    story.call("call-third", keyed=False, in_doubt=1)
    assert not story.count().broken
    story.run("third")
    assert not story.count().broken
    assert story.count().stored_in_doubt == 1
    story.run("again", mark="call-third")
    assert len(story.count().doubled) == 1


def test_more_active_runs_than_slots_are_counted_for_each_definition(story: Story) -> None:
    """Two of one are too many, two of the other aren't."""
    for name in ("third", "fourth"):
        story.call(f"call-{name}", name)
        story.run(name, definition="two")
        story.start(name)
    assert not story.count().over
    for name in ("fifth", "sixth"):
        story.call(f"call-{name}", name)
        story.run(name)
        story.start(name)
    assert len(story.count().over) == 1
    assert story.count().most_active == {"one": 2, "two": 2}


def test_a_slot_is_free_when_its_run_has_ended_and_not_before(story: Story) -> None:
    """By the order of revisions, whatever order they are given in."""
    story.run("third")
    story.start("third")
    story.run("fourth")
    story.end("third")
    story.start("fourth")
    assert not story.count().over
    early, late = story.versions[-2:]
    story.versions[-2:] = [replace(early, revision=late.revision), replace(late, revision=early.revision)]
    assert len(story.count().over) == 1


def test_pods_that_outlive_their_runs_count(story: Story) -> None:
    """As many runs as there are slots may have pods; two pods of one run are Kubernetes' own affair."""
    story.pod("third-a", "first")
    story.pod("third-b", "first")
    assert not story.count().over
    assert len(story.count().more_pods) == 1
    story.pod("fourth-a", "second")
    assert len(story.count().over) == 1


def test_a_start_before_a_dependency_was_ever_ready_is_early(story: Story) -> None:
    """Also where it doesn't exist."""
    for name, dependency in (("third", "queue"), ("fourth", "nothing")):
        story.call(f"call-{name}", name)
        story.turn("queue", ready=False)
        story.run(name, depends_on=("database", dependency))
        story.start(name)
        story.end(name)
    assert len(story.count().early) == 2


def test_a_start_on_news_that_its_leader_has_had_is_early(story: Story) -> None:
    """A leader that came when the dependency was unready can't have seen it ready."""
    story.run("third", depends_on=("database",))
    story.turn("database", ready=False)
    story.elect("b")
    story.start("third")
    assert len(story.count().early) == 1


def test_a_start_on_old_news_is_early(story: Story) -> None:
    """No watch may be silent for so long."""
    story.run("third", depends_on=("database",))
    story.turn("database", ready=False)
    story.moment += NOTICED_SECONDS
    story.start("third")
    assert len(story.count().early) == 1


def test_a_start_while_the_news_is_on_its_way_is_told_and_no_fault(story: Story) -> None:
    """A renewed Lease is no election; and what is ready again is ready."""
    story.run("third", depends_on=("database",))
    story.run("fourth", depends_on=("database",))
    story.turn("database", ready=False)
    story.elect("a")
    story.start("third")
    story.end("third")
    assert not story.count().early
    assert story.count().late_news == (1, 2.0)
    story.elect("b")
    story.turn("database", ready=True)
    story.start("fourth")
    assert not story.count().early
