"""A dispatcher that gets nowhere is told from one that waits."""

from app.dispatcher.pulse import SILENCE_SECONDS, Pulse
from tests.support.clock import Clock


def test_each_thread_has_to_beat() -> None:
    """That the lease is renewed does not hide that nothing is admitted; one that beats again is well."""
    clock = Clock()
    pulse = Pulse(clock)
    assert pulse.is_felt()
    pulse.beat("lease")
    pulse.beat("dispatcher")
    clock.now += SILENCE_SECONDS
    assert pulse.is_felt()
    pulse.beat("lease")
    clock.now += 1
    assert not pulse.is_felt()
    pulse.beat("dispatcher")
    assert pulse.is_felt()
