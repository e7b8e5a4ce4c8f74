"""The two servers of this session, a real and an embedded one, each with a namespace for the cases."""

import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from kubernetes.client import ApiClient, Configuration

from devcluster.cluster import Cluster, Options
from tests.parity.comparison import PLAYED_AGAIN, unknown_differences
from tests.parity.sides import Facts, Session, Side
from tests.parity.steps import Step
from tests.support.servers import Server

COMPARES = pytest.mark.real_only("it compares the embedded cluster with a real one")
Compare = Callable[..., None]
Play = Callable[..., list[list[Facts]]]
Differences = Callable[[Sequence[Facts], Sequence[Facts]], Sequence[str]]
"""What is compared: the responses of the real server and of the embedded one -> a line for each difference."""
AssertAlike = Callable[..., None]
PLAYS = 3


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

    def on(side: Side, steps: Sequence[Step], name: str) -> list[Facts]:
        session = Session(side, name)
        for step in steps:
            step(session)
        return session.recorded

    def run(*steps: Step) -> list[list[Facts]]:
        name = f"case-{secrets.token_hex(4)}"
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(lambda side: on(side, steps, name), sides))

    return run


def play_until_alike(play: Play, differences: Differences, *steps: Step) -> tuple[Sequence[str], int]:
    """Play steps on both servers, up to three times until nothing differs.

    The real controllers work in parallel, so now and then what they do depends on which of them is first. A defect of
    the embedded cluster shows each time.

    Returns:
        What differed in the last play, and how often the steps were played again.
    """
    again, found = 0, differences(*play(*steps))
    while found and again < PLAYS - 1:
        again, found = again + 1, differences(*play(*steps))
    return found, again


@pytest.fixture
def assert_alike(play: Play, record_property: Callable[[str, object], None]) -> AssertAlike:
    """Return a function that plays steps on both servers, and fails when the responses differ each time."""

    def run(differences: Differences, *steps: Step) -> None:
        found, again = play_until_alike(play, differences, *steps)
        assert not found, "\n".join([f"the servers differ, {PLAYS} times of {PLAYS}:", *found])
        if again:
            record_property(PLAYED_AGAIN, again)

    return run


@pytest.fixture
def compare(assert_alike: AssertAlike) -> Compare:
    """Return a function that takes steps on both servers, and fails when the responses differ unexpectedly."""

    def run(*steps: Step) -> None:
        assert_alike(unknown_differences, *steps)

    return run
