"""A dispatcher that is stuck is told from one that waits."""

from app.common.heartbeat import SILENCE_SECONDS, Heartbeat
from tests.support.clock import Clock


def test_is_alive__needs_a_beat_of_every_thread() -> None:
    """One thread that beats does not hide another one that doesn't; one that beats again is well."""
    clock = Clock()
    heartbeat = Heartbeat(clock)
    assert heartbeat.is_alive()
    heartbeat.beat("writer")
    heartbeat.beat("dispatcher")
    clock.now += SILENCE_SECONDS
    assert heartbeat.is_alive()
    heartbeat.beat("writer")
    clock.now += 1
    assert not heartbeat.is_alive()
    heartbeat.beat("dispatcher")
    assert heartbeat.is_alive()


def test_is_alive__does_not_wait_for_a_thread_that_rests() -> None:
    """A writer without a write need not beat."""
    clock = Clock()
    heartbeat = Heartbeat(clock)
    heartbeat.beat("writer")
    heartbeat.rest("writer")
    clock.now += 2 * SILENCE_SECONDS
    assert heartbeat.is_alive()
