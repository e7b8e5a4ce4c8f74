"""How often a write is retried, and when there is no time left for a retry."""

import pytest

from app.common.backoff import Backoff
from app.kube.errors import ClusterError
from app.runs.retry_budget import RetryBudget, RetryPolicy
from tests.support.clock import Clock


class Sleeper:
    """A clock that moves on when somebody sleeps, and remembers the sleeps."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.sleeps: list[float] = []

    def sleep(self, seconds: float) -> None:
        """Sleep without taking time."""
        self.sleeps.append(seconds)
        self.clock.now += seconds

    def policy(self, *, max_attempts: int = 4, deadline_seconds: float = 4.0) -> RetryPolicy:
        """Make a policy that uses this clock."""
        return RetryPolicy(Backoff(0.5, 1.0), max_attempts, deadline_seconds, self.sleep, self.clock)


@pytest.fixture
def sleeper() -> Sleeper:
    return Sleeper()


def failure(retry_after_seconds: int | None = None) -> ClusterError:
    error = ClusterError("the API server is away")
    error.retry_after_seconds = retry_after_seconds
    return error


def test_wait__waits_longer_each_time_until_no_attempt_is_left(sleeper: Sleeper) -> None:
    budget = RetryBudget(sleeper.policy(max_attempts=4))
    assert [budget.wait("storing", failure()) for _ in range(4)] == [True, True, True, False]
    assert sleeper.sleeps == [0.5, 1.0, 1.0]


def test_wait__begins_no_attempt_after_the_deadline(sleeper: Sleeper) -> None:
    """The attempts themselves take time, too."""
    budget = RetryBudget(sleeper.policy(deadline_seconds=4.0))
    sleeper.clock.now += 3.0
    assert budget.wait("storing", failure())
    assert not budget.wait("storing", failure())
    assert sleeper.sleeps == [0.5]


def test_wait__waits_as_long_as_the_server_asks_for(sleeper: Sleeper) -> None:
    budget = RetryBudget(sleeper.policy())
    assert budget.wait("storing", failure(retry_after_seconds=2))
    assert not budget.wait("storing", failure(retry_after_seconds=3)), "it would begin after the deadline"
    assert sleeper.sleeps == [2.0]


def test_wait__has_a_budget_of_its_own_for_each_write(sleeper: Sleeper) -> None:
    policy = sleeper.policy(max_attempts=2)
    for _ in range(3):
        budget = RetryBudget(policy)
        assert budget.wait("storing", failure())
        assert not budget.wait("storing", failure())
    assert sleeper.sleeps == [0.5] * 3
