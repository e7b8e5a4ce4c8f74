"""The two servers of this session, a real and an embedded one, each with a namespace for the cases."""

import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from kubernetes.client import ApiClient, Configuration

from devcluster.cluster import Cluster, Options
from tests.parity.comparison import unknown_differences
from tests.parity.sides import Facts, Session, Side
from tests.parity.steps import Step
from tests.support.servers import Server

COMPARES = pytest.mark.real_only("it compares the embedded cluster with a real one")
Compare = Callable[..., None]
Play = Callable[..., list[list[Facts]]]


@pytest.fixture(scope="session")
def sides(server: Server) -> Iterator[tuple[Side, Side]]:
    """Return the real server and the embedded one."""
    namespace = server.create_namespace()
    # No backoff, which would be 10 s and more.
    with Cluster(Options(back_off_seconds=0.02)) as cluster:
        yield Side(server.admin, namespace), Side(ApiClient(Configuration(host=cluster.url)), namespace)
    server.delete_namespace(namespace)


@pytest.fixture
def play(sides: tuple[Side, Side]) -> Play:
    """Return a function that takes steps on both servers at the same time, and returns what each one responded."""
    name = f"case-{secrets.token_hex(4)}"

    def on(side: Side, steps: Sequence[Step]) -> list[Facts]:
        session = Session(side, name)
        for step in steps:
            step(session)
        return session.recorded

    def run(*steps: Step) -> list[list[Facts]]:
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(lambda side: on(side, steps), sides))

    return run


@pytest.fixture
def compare(play: Play) -> Compare:
    """Return a function that takes steps on both servers, and fails when the responses differ unexpectedly."""

    def run(*steps: Step) -> None:
        real, embedded = play(*steps)
        found = unknown_differences(real, embedded)
        assert not found, "\n".join(["the servers differ:", *found])

    return run
