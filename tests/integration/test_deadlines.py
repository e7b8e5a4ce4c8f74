"""Every call to the API server ends, however slowly its answer comes."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest

from app.kube.cancel_token import CancelToken
from app.kube.errors import ClusterError, UnavailableError
from tests.integration.dispatching import LONG, ClusterFixture, until
from tests.support.faults import Fault, GoSilent, Request, Trickle
from tests.support.waiting import DEADLINE_SECONDS

SLOW = Trickle(pause_seconds=0.2)
SLOW_BODY = Trickle(pause_seconds=0.2, head=False)


@pytest.mark.parametrize("action", [SLOW, SLOW_BODY, GoSilent(forward=True)], ids=["head", "body", "silence"])
def test_call__ends_at_its_deadline(cluster: ClusterFixture, action: Trickle | GoSilent) -> None:
    """Each byte comes in time, the answer doesn't: the whole of it has one deadline."""
    server = cluster.connect().transport
    cluster.proxy.add(Fault(action))
    with pytest.raises(UnavailableError):
        server.call("GET", f"/api/v1/namespaces/{cluster.namespace}/pods", whole_seconds=1.0)


@pytest.mark.slow
def test_call__leaves_no_deadline_on_its_connection(cluster: ClusterFixture) -> None:
    """What was left of one call's time is not the next one's."""
    server = cluster.connect().transport
    path = f"/api/v1/namespaces/{cluster.namespace}/pods"
    server.call("GET", path, whole_seconds=2.0)
    cluster.proxy.add(Fault(Trickle(pause_seconds=0.01)))
    assert server.call("GET", path, whole_seconds=60.0)["items"] == []
    assert cluster.proxy.connections == 1


@pytest.mark.parametrize("action", [SLOW, SLOW_BODY], ids=["head", "body"])
def test_stream__ends_at_its_deadline(cluster: ClusterFixture, action: Trickle) -> None:
    """It brings something all the time, and nothing that could be read."""
    namespace = cluster.connect()
    cluster.queue()
    cluster.proxy.add(Fault(action))
    query = {"watch": "true", "timeoutSeconds": 50}
    with (
        pytest.raises(UnavailableError),
        namespace.transport.stream(namespace.runs.path, query, silence_seconds=60.0, whole_seconds=1.0) as stream,
    ):
        for _ in stream.lines():
            pass


def test_stream__without_a_deadline_lasts_as_long_as_bytes_come(cluster: ClusterFixture) -> None:
    """It has no end that anybody could know, as long as something comes."""
    server = cluster.connect().transport
    cluster.proxy.add(Fault(Trickle(pause_seconds=0.01, head=False)))
    with server.stream(f"/api/v1/namespaces/{cluster.namespace}/pods", {}, silence_seconds=1.0) as stream:
        assert b"".join(stream.pieces()).startswith(b"{")


@contextmanager
def silent_log(cluster: ClusterFixture) -> Iterator[Callable[[], bytes]]:
    """The log of a container that prints nothing; reads what comes of it."""
    namespace = cluster.connect()
    [name] = cluster.queue(args=LONG)
    cluster.suspend(name, suspend=False)
    [pod] = until(lambda: cluster.core.list_namespaced_pod(cluster.namespace).items)
    until(lambda: cluster.core.read_namespaced_pod(pod.metadata.name, cluster.namespace).status.phase == "Running")
    cancel_token = CancelToken()
    with (
        ThreadPoolExecutor(1) as reader,
        suppress(ClusterError),
    ):

        def read() -> bytes:
            query: dict[str, str | int] = {"follow": "true"}
            with namespace.log(
                pod.metadata.name, query, silence_seconds=None, cancel_token=cancel_token, ask_seconds=0.4
            ) as log:
                return b"".join(log.pieces())

        reading = reader.submit(read)
        try:
            yield lambda: reading.result(DEADLINE_SECONDS)
        finally:
            cancel_token.set()


def is_question(request: Request) -> bool:
    return request.method == "GET" and "/leases/" in request.path


@pytest.mark.embedded_only("no container of it is silent: nothing is run there")
def test_silent_log__continues_while_the_api_server_responds(cluster: ClusterFixture) -> None:
    """It is asked now and then, and the log stays open."""
    with silent_log(cluster):
        cluster.proxy.wait_for(lambda request: is_question(request) and request.status == 404, count=3)
    assert sum(request.path.endswith("/log") for request in cluster.proxy.requests) == 1


@pytest.mark.slow
@pytest.mark.embedded_only("no container of it is silent: nothing is run there")
def test_silent_log__ends_when_the_api_server_hangs(cluster: ClusterFixture) -> None:
    """Its connection is open, and so is every other: only an answer tells."""
    with silent_log(cluster) as read:
        cluster.proxy.wait_for(is_question)
        cluster.proxy.silence()
        with pytest.raises(UnavailableError):
            read()
