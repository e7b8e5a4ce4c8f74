"""What the liveness probe learns of a dispatcher."""

from app.common.heartbeat import SILENCE_SECONDS, Heartbeat
from app.dispatcher.loop import Dispatcher
from tests.integration.dispatching import QUICK, ClusterFixture, until
from tests.support.clock import Clock
from tests.support.faults import Fault, Hold


def make(cluster: ClusterFixture, clock: Clock) -> Dispatcher:
    return Dispatcher(cluster.connect(), lambda: {"a": 1}, instance="probed", timing=QUICK, heartbeat=Heartbeat(clock))


def test_health__waiting_dispatcher__is_not_stuck(cluster: ClusterFixture) -> None:
    """Before its start, while it leads, while the API server is away, and after its end."""
    clock = Clock()
    dispatcher = make(cluster, clock)
    assert not dispatcher.stuck
    dispatcher.start()
    try:
        until(lambda: dispatcher.leading)
        cluster.proxy.refuse_connections()
        for _ in range(5):
            clock.now += SILENCE_SECONDS / 2
            until(lambda: not dispatcher.stuck)
    finally:
        dispatcher.stop()
    clock.now += 10 * SILENCE_SECONDS
    assert not dispatcher.stuck


def test_health__blocked_thread__makes_it_stuck_until_it_goes_on(cluster: ClusterFixture) -> None:
    """Be it the one that keeps the lease, though the other beats."""
    clock, hold = Clock(), Hold()
    dispatcher = make(cluster, clock)
    dispatcher.start()
    try:
        until(lambda: dispatcher.leading)
        cluster.proxy.add(Fault(hold, method="PUT", path=r"/leases/"))
        hold.wait_held(1)
        clock.now += SILENCE_SECONDS + 1
        assert dispatcher.stuck
        hold.release()
        until(lambda: not dispatcher.stuck)
    finally:
        hold.release()
        dispatcher.stop()


def test_health__long_list__is_not_stuck(cluster: ClusterFixture) -> None:
    """Ten thousand runs on a busy API server: a restart would have it begin anew, for ever."""
    clock, hold = Clock(), Hold()
    cluster.proxy.add(Fault(hold, method="GET", path=r"/jobs$"))
    dispatcher = make(cluster, clock)
    dispatcher.start()
    try:
        until(lambda: dispatcher.leading)
        hold.wait_held(1)
        for _ in range(5):
            clock.now += SILENCE_SECONDS / 2
            until(lambda: not dispatcher.stuck)
    finally:
        hold.release()
        dispatcher.stop()


def test_health__stuck_leader__leaves_the_lease_to_others(cluster: ClusterFixture) -> None:
    """With several workers in a pod the probe may meet any: the queue must not wait until it meets this one."""
    clock, hold = Clock(), Hold()
    cluster.proxy.add(Fault(hold, method="PATCH", path=r"/jobs/"))
    cluster.queue("a")
    stuck, other = make(cluster, clock), cluster.dispatcher({"a": 1}, timing=QUICK)
    stuck.start()
    try:
        hold.wait_held(1)
        other.start()
        clock.now += SILENCE_SECONDS + 1
        until(lambda: other.leading)
        assert not stuck.leading
        hold.release()
        until(lambda: not stuck.stuck)
    finally:
        hold.release()
        stuck.stop()
        other.stop()
