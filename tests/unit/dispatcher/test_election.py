"""Which writes of the Lease a candidate and a leader make, with a fake API server and a clock set by hand."""

from collections.abc import Callable
from typing import Any

import pytest

from app.common.types import Json
from app.dispatcher.admissions import Admissions
from app.dispatcher.change_signal import ChangeSignal
from app.dispatcher.election import Election
from app.dispatcher.intent import Intent, Pin
from app.dispatcher.lease import LeaseTiming, build_lease
from app.dispatcher.run_ends import RunEnds
from app.dispatcher.start_latency import StartLatency
from app.kube.errors import ClusterError, ConflictError, NotFoundError, UnavailableError


class FakeLeases:
    """The Lease calls of an API server.

    Attributes:
        lease: as stored; `None`: there is none.
        version: the last resourceVersion that was given to a Lease.
        always_conflicts: whether every write conflicts.
        error: raised for every call, which then has no effect; `None`: calls succeed.
        loses_responses: a write is stored, and its response is lost.
        after_store: called after a write was stored and before its response.
    """

    def __init__(self) -> None:
        self.lease: Json | None = None
        self.version = 0
        self.always_conflicts = False
        self.error: ClusterError | None = None
        self.loses_responses = False
        self.after_store: Callable[[], None] = lambda: None

    def get_lease(self, _name: str) -> Json:
        """Return the Lease."""
        if self.error is not None:
            raise self.error
        if self.lease is None:
            raise NotFoundError("no such Lease")
        return self.lease

    def create_lease(self, lease: Json) -> Json:
        """Store a new Lease."""
        return self._store(lease)

    def replace_lease(self, lease: Json) -> Json:
        """Store the Lease if it carries the version that is stored."""
        if self.lease is None:
            raise NotFoundError("no such Lease")
        if lease["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise ConflictError("the Lease has changed")
        return self._store(lease)

    def _store(self, lease: Json) -> Json:
        if self.error is not None:
            raise self.error
        if self.always_conflicts:
            raise ConflictError("the Lease has changed")
        self.version += 1
        self.lease = {**lease, "metadata": {**lease["metadata"], "resourceVersion": str(self.version)}}
        self.after_store()
        if self.loses_responses:
            raise UnavailableError("the response is lost")
        return self.lease


class Candidate:
    """An election with a fake API server and a clock.

    Attributes:
        now: the clock, in seconds.
        leases: the API server.
    """

    def __init__(self) -> None:
        self.now = 100.0
        self.leases = FakeLeases()
        signal, start_latency = ChangeSignal(), StartLatency(self.clock)
        ends = RunEnds(self.clock, lambda _end: None)
        self.admissions = Admissions("me", signal, self.clock, self.clock, start_latency, ends, lambda *_told: None)
        leases: Any = self.leases
        self.election = Election(leases, self.admissions, signal, LeaseTiming(), self.clock)

    def clock(self) -> float:
        """Return the time that the test has set."""
        return self.now

    def leads_within(self, seconds: int) -> bool:
        """Stand for election every second; whether it leads in the end."""
        for _ in range(seconds):
            self.now += 1
            if self.election.stand():
                return True
        return False


@pytest.fixture
def candidate() -> Candidate:
    return Candidate()


def test_stand__begins_a_new_term_after_a_lost_response_and_an_outage(candidate: Candidate) -> None:
    """The renewal whose response was lost took the Lease, and is found after the term's time is over."""
    assert candidate.election.stand()
    candidate.now += 4
    candidate.leases.loses_responses = True
    candidate.election.renew({})
    candidate.leases.loses_responses, candidate.leases.error = False, UnavailableError("down")
    while candidate.election.is_leading():
        candidate.now += 1
        candidate.election.renew({})
    candidate.election.resign()
    candidate.now += 20
    candidate.leases.error = None
    assert candidate.leads_within(3)


def test_stand__does_not_lead_while_a_policy_removes_the_intent(candidate: Candidate) -> None:
    """It fails as other writes do, and leads once the policy is gone."""

    def remove_intent() -> None:
        assert candidate.leases.lease is not None
        del candidate.leases.lease["metadata"]["annotations"]

    candidate.leases.after_store = remove_intent
    assert not candidate.leads_within(3)
    candidate.leases.after_store = lambda: None
    assert candidate.leads_within(3)


def test_stand__begins_a_new_term_after_a_pause_during_its_write(candidate: Candidate) -> None:
    """The process sleeps for longer than the Lease lasts while its first write is stored."""

    def pause() -> None:
        candidate.now += 20

    candidate.leases.after_store = pause
    assert not candidate.election.stand()
    candidate.leases.after_store = lambda: None
    assert candidate.leads_within(3)


def test_stand__keeps_the_pins_of_a_term_that_is_over_before_it_leads(candidate: Candidate) -> None:
    """They are the admissions that an earlier leader may have sent."""
    pins = frozenset({Pin("uid-1", 7)})
    intent = Intent("other", 0, 1, pins, complete=True)
    candidate.leases.lease = build_lease(None, intent, 15)
    candidate.leases.lease["metadata"]["resourceVersion"] = "0"
    candidate.election.stand()
    candidate.leases.after_store = lambda: setattr(candidate, "now", candidate.now + 20)
    candidate.now += 20
    assert not candidate.election.stand()
    candidate.leases.after_store = lambda: None
    assert candidate.leads_within(3)
    assert candidate.admissions.term is not None
    assert candidate.admissions.term.in_doubt == pins


def test_stand__pauses_while_every_write_conflicts(candidate: Candidate) -> None:
    """The Lease is read at once after the first conflict only."""
    candidate.leases.always_conflicts = True
    candidate.election.stand()
    assert candidate.election.seconds_until_due() == 0
    candidate.election.stand()
    assert candidate.election.seconds_until_due() > 0
    assert candidate.election.is_backing_off()


def test_renew__reads_the_lease_at_once_after_a_conflict(candidate: Candidate) -> None:
    """An earlier renewal whose response was lost may have been stored late."""
    candidate.election.stand()
    candidate.leases.always_conflicts = True
    candidate.election.renew({})
    assert not candidate.election.is_leading()
    assert candidate.election.seconds_until_due() == 0
    candidate.leases.always_conflicts = False
    assert candidate.election.stand()


def test_renew__backs_off_after_a_failure_until_it_is_due(candidate: Candidate) -> None:
    """A leader with runs to admit asks for a write at every event."""
    candidate.election.stand()
    candidate.leases.error = UnavailableError("down")
    candidate.election.renew({})
    assert candidate.election.is_leading()
    assert candidate.election.is_backing_off()
    candidate.now += candidate.election.seconds_until_due()
    assert not candidate.election.is_backing_off()
    candidate.leases.error = None
    candidate.election.renew({})
    assert not candidate.election.is_backing_off()
