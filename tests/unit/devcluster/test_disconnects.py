"""The embedded cluster's watcher for the connections of open streams."""

import socket
import threading

from devcluster.http.disconnects import DisconnectWatcher
from tests.support.waiting import DEADLINE_SECONDS


def test_disconnect_watcher__survives_a_stream_that_ends_before_its_event_is_handled() -> None:
    """Several connections may have events at once; one of them may be closed before its event is handled."""
    watcher = DisconnectWatcher()
    watcher.start()
    try:
        reached, go_on = [threading.Event() for _ in range(2)], [threading.Event() for _ in range(2)]

        def stop_at(number: int) -> None:
            reached[number].set()
            go_on[number].wait(DEADLINE_SECONDS)

        pairs = [socket.socketpair() for _ in range(4)]
        (first, first_client), (second, second_client), (third, third_client), (last, last_client) = pairs
        closed = threading.Event()
        with watcher.watching(first, lambda: stop_at(0)), watcher.watching(second, lambda: stop_at(1)):
            first_client.close()
            assert reached[0].wait(DEADLINE_SECONDS)
            with watcher.watching(third, lambda: None):
                second_client.close()
                third_client.send(b"!")
                go_on[0].set()  # now both are in the same batch of events
                assert reached[1].wait(DEADLINE_SECONDS)
            third.close()
            go_on[1].set()
            with watcher.watching(last, closed.set):
                last_client.close()
                assert closed.wait(DEADLINE_SECONDS)
    finally:
        watcher.stop()
        for pair in pairs:
            for end in pair:
                end.close()
