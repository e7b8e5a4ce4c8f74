"""Fixtures and options that all suites share: the API server, a namespace per test, and the selection of tests."""

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from kubernetes import client

from app.kube import transport
from app.kube.transport import ApiTransport
from tests.parity.comparison import PLAYED_AGAIN
from tests.promtool.build import has_promtool
from tests.support.browser import has_browser
from tests.support.proxies import keep_loopback_direct
from tests.support.servers import Server, embedded_server, names_of, real_server

keep_loopback_direct()

# A slow machine must not fail a test. CI runs the same examples every time, so that only the tested change can fail.
settings.register_profile(
    "all", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.register_profile("quick", settings.get_profile("all"), max_examples=25)

_MARKERS = {
    "embedded_only(reason)": "needs a feature of the embedded cluster",
    "real_only(reason)": "needs a feature of a real control plane",
    "needs_promtool": "needs Prometheus' promtool",
    "needs_browser": "needs Chromium and Playwright",
    "slow": "takes more than about 2 seconds, or 0.7 seconds of processor time, on its own; `make test` leaves it out",
}
_WHY_LEFT_OUT = {
    "embedded_only": "need the embedded cluster (`make test-all` runs them)",
    "real_only": "need a real control plane (`make e2e` runs them)",
    "needs_promtool": "need promtool (`make e2e` builds it and runs them)",
    "needs_browser": "need Chromium and Playwright (`make browser` installs them)",
    "slow": "are slow (`make test-all` runs them)",
}
_LEFT_OUT = pytest.StashKey[dict[str, int]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that choose the API server and the tests."""
    parser.addoption(
        "--server",
        choices=("embedded", "real"),
        default="embedded",
        help="the API server to test against: the embedded cluster, or the one of KUBECONFIG",
    )
    parser.addoption("--quick", action="store_true", help="leave out slow tests, and try fewer examples")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers, and choose how many examples hypothesis tries."""
    for marker, meaning in _MARKERS.items():
        config.addinivalue_line("markers", f"{marker}: {meaning}")
    config.stash[_LEFT_OUT] = {}
    settings.load_profile("quick" if config.getoption("--quick") else "all")
    if config.getoption("--server") == "real" and not os.environ.get("KUBECONFIG"):
        raise pytest.UsageError(
            "--server real needs KUBECONFIG to name a test cluster; `make e2e` starts one where there is none"
        )


def pytest_report_header(config: pytest.Config) -> str:
    """Report which API server the tests run on."""
    if config.getoption("--server") == "embedded":
        return "server: embedded"
    try:
        with real_server() as server:
            version = client.VersionApi(server.admin).get_code().git_version
    except Exception as error:
        raise pytest.UsageError(
            f"cannot reach the API server of KUBECONFIG={os.environ['KUBECONFIG']}: {error}"
        ) from error
    return f"server: real, Kubernetes {version} at {server.url}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that cannot run here, and with --quick the slow ones; the summary counts both."""
    real = config.getoption("--server") == "real"
    unwanted = ["embedded_only" if real else "real_only"]
    if not real and not has_promtool():
        unwanted.append("needs_promtool")
    if not has_browser():
        unwanted.append("needs_browser")
    if config.getoption("--quick"):
        unwanted.append("slow")
    kept, left_out = [], []
    counts: Counter[str] = Counter()
    for item in items:
        if reason := next((marker for marker in unwanted if item.get_closest_marker(marker)), None):
            left_out.append(item)
            counts[reason] += 1
        else:
            kept.append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=left_out)
    config.stash[_LEFT_OUT] = dict(counts)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Report the tests that this pytest-xdist worker has left out to the controller."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = session.config.stash[_LEFT_OUT]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Record the tests that a pytest-xdist worker has left out; all workers collect the same tests."""
    node.config.stash[_LEFT_OUT] |= getattr(node, "workeroutput", {}).get("left_out", {})


def pytest_runtest_call(item: pytest.Item) -> None:
    """Record which servers a test uses, for the summary."""
    used = names_of(getattr(item, "funcargs", {}).values())
    item.user_properties.append(("servers", " and ".join(used) or "their own embedded cluster, or none"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Report which tests were left out and why, and with --server real how many tests ran on which server."""
    if config.getoption("--server") == "real":
        reports = [report for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, ())]
        counts = Counter((dict(report.user_properties).get("servers"), report.outcome) for report in reports)
        terminalreporter.section("servers")
        for (servers, outcome), count in sorted(counts.items(), key=str):
            terminalreporter.write_line(f"{servers}: {count} {outcome}")
        if again := [report.nodeid for report in reports if PLAYED_AGAIN in dict(report.user_properties)]:
            terminalreporter.write_line(f"The servers differed by chance, and not again: {', '.join(again)}")
    if left_out := config.stash[_LEFT_OUT]:
        reasons = [f"{count} that {_WHY_LEFT_OUT[marker]}" for marker, count in left_out.items()]
        terminalreporter.write_line(f"Tests left out: {', '.join(reasons)}.")


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Provide the API server under test."""
    choose = {"embedded": embedded_server, "real": real_server}[request.config.getoption("--server")]
    with choose() as chosen:
        yield chosen


@pytest.fixture
def namespace(server: Server) -> Iterator[str]:
    """Provide a namespace for one test."""
    name = server.create_namespace()
    yield name
    server.delete_namespace(name)


@pytest.fixture(autouse=True)
def patient_calls(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the service in the test's own process wait for the API server for as long as that takes.

    So none of these calls depends on how fast the machine is. A test that waits for a timeout of the service is slow
    anyway, and has the service's own timeouts.
    """
    if request.node.get_closest_marker("slow") is not None:
        return
    monkeypatch.setattr(transport, "READ_SECONDS", 3600.0)
    assert ApiTransport.call.__kwdefaults__ is not None
    monkeypatch.setitem(ApiTransport.call.__kwdefaults__, "whole_seconds", 3600.0)
