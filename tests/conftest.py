"""What every suite can use: the API server under test, and namespaces of a test's own; and which test ran where."""

import os
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from kubernetes import client

from tests.support.servers import Server, embedded_server, names_of, real_server

# A slow machine is no defect; and what fails in CI must be the change that is tested, not today's choice of examples.
settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("untimed")

_ONLY_ON = {"embedded": "embedded_only", "real": "real_only"}
_NAMES = {"embedded": "the embedded cluster", "real": "a real control plane"}


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
    config.addinivalue_line("markers", "real_only(reason): needs what only a real control plane can do")
    if config.getoption("--server") == "real" and not os.environ.get("KUBECONFIG"):
        raise pytest.UsageError(
            "--server real needs KUBECONFIG to name a cluster for tests; `make e2e` brings its own where there is none"
        )


def pytest_report_header(config: pytest.Config) -> str:
    """Say which API server the tests run on."""
    if config.getoption("--server") == "embedded":
        return "server: embedded"
    try:
        with real_server() as server:
            version = client.VersionApi(server.admin).get_code().git_version
    except Exception as error:
        raise pytest.UsageError(f"KUBECONFIG={os.environ['KUBECONFIG']} leads to no API server: {error}") from error
    return f"server: real, Kubernetes {version} at {server.url}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what the chosen server can't show; each test says why."""
    chosen = config.getoption("--server")
    other = "embedded" if chosen == "real" else "real"
    for item in items:
        if marker := item.get_closest_marker(_ONLY_ON[other]):
            item.add_marker(pytest.mark.skip(reason=f"not on {_NAMES[chosen]}: {marker.args[0]}"))


def pytest_runtest_call(item: pytest.Item) -> None:
    """Note which servers a test uses, for the summary."""
    used = names_of(getattr(item, "funcargs", {}).values())
    item.user_properties.append(("servers", " and ".join(used) or "an embedded cluster of their own, or none"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say how many tests ran on which server."""
    if config.getoption("--server") == "embedded":
        return
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, ())]
    counts = Counter((dict(report.user_properties).get("servers"), report.outcome) for report in reports)
    terminalreporter.section("servers")
    for (servers, outcome), count in sorted(counts.items(), key=str):
        terminalreporter.write_line(f"{servers}: {count} {outcome}")


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
