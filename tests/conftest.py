"""What every suite can use: the API server under test, and namespaces of a test's own."""

from collections.abc import Iterator

import pytest

from tests.servers import Server, embedded_server, real_server


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the choice of the API server."""
    parser.addoption(
        "--server",
        choices=("embedded", "real"),
        default="embedded",
        help="the API server to test against: the embedded cluster, or the one that KUBECONFIG names",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers."""
    config.addinivalue_line("markers", "embedded_only(reason): needs what only the embedded cluster can do")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip, on a real cluster, what it can't show; each test says why."""
    if config.getoption("--server") == "real":
        for item in items:
            if marker := item.get_closest_marker("embedded_only"):
                item.add_marker(pytest.mark.skip(reason=f"not on a real cluster: {marker.args[0]}"))


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """The API server under test."""
    choose = {"embedded": embedded_server, "real": real_server}[request.config.getoption("--server")]
    with choose() as chosen:
        yield chosen


@pytest.fixture
def namespace(server: Server) -> Iterator[str]:
    """A namespace of the test's own."""
    name = server.create_namespace()
    yield name
    server.delete_namespace(name)
