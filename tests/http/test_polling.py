"""Callers that poll share a budget of lists: `Cache-Control: max-stale`. The tests hold the clock."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.api.access_control import AccessControl
from app.api.polling import PolledResponses
from app.api.problems import register_problem_handler
from app.api.routes.runs import runs_blueprint
from app.api.routes.status import status_blueprint
from app.auth.authorizer import Authorizer, TrustRules
from app.auth.identities import Identities
from app.common.concurrency_limiter import ConcurrencyLimiter
from app.definitions.registry import Registry
from app.kube.client import NamespacedClient
from app.kube.credentials import connect
from app.runs.cancel import Canceller
from app.runs.definition_status import DefinitionStatuses
from app.runs.limits.long_requests import LongRequestLimiter
from app.runs.reader import RunReader
from app.runs.waiting import RunWaiter
from schemas.configuration import parse_configuration
from tests.http.clients import check_problem
from tests.http.dispatching import make_caller, start
from tests.support.clock import Clock
from tests.support.faults import FaultProxy
from tests.support.servers import Server, write_kubeconfig

NAMES = [f"job-{number}" for number in range(4)]
DEFINITION: dict[str, Any] = {"Image": "busybox:1", "Visibility": "Public", "DependsOn": ["nobody"]}
CONFIGURATION = {"Configurations": dict.fromkeys(NAMES, DEFINITION)}
FRESH, POLL = {"Cache-Control": "max-stale=0"}, {"Cache-Control": "max-stale=110"}


class ReadingClient(FlaskClient):
    """A client that reads each response to its end at once, as gunicorn does. Until then, it holds memory for lists."""

    def open(self, *arguments: Any, **options: Any) -> TestResponse:
        """Send a request."""
        return super().open(*arguments, **{"buffered": True, **options})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def polled(server: Server, namespace: str, tmp_path: Path, proxy: FaultProxy, clock: Clock) -> FlaskClient:
    """Build the routes that read, with a clock that the test holds, and with their API server behind the proxy."""
    client = NamespacedClient(connect(str(write_kubeconfig(tmp_path, server, namespace, url=proxy.url)), namespace))
    registry, limiter = Registry(parse_configuration(json.dumps(CONFIGURATION))), ConcurrencyLimiter()
    policy = Authorizer(TrustRules(), Identities(client, "slimfaas-jobs", limiter))
    access_control = AccessControl(registry, policy, public_listing=True)
    runs, responses = RunReader(client, registry.slots), PolledResponses(clock)
    waiter = RunWaiter(client, runs, LongRequestLimiter(1, reserve=lambda: False))
    app = Flask("polled", static_folder=None)
    register_problem_handler(app)
    app.register_blueprint(runs_blueprint(access_control, runs, Canceller(client, runs), waiter, limiter, responses))
    statuses = DefinitionStatuses(client, registry.all, clock=clock)
    app.register_blueprint(status_blueprint(access_control, statuses, limiter, responses))
    app.test_client_class = ReadingClient
    return app.test_client()


@pytest.fixture
def runs(server: Server, namespace: str, tmp_path: Path) -> list[str]:
    """Provide the paths of a queued run of each definition."""
    caller = make_caller(write_kubeconfig(tmp_path, server, namespace), CONFIGURATION)
    return [start(caller, name) for name in NAMES]


def count_lists(proxy: FaultProxy) -> int:
    """Return how many lists were made, each of all its pages."""
    return sum(
        request.method == "GET"
        and request.path.endswith(("/jobs", "/pods", "/deployments", "/statefulsets", "/events"))
        and "watch=" not in request.query
        and "continue=" not in request.query
        for request in proxy.requests
    )


def test_many_polls_at_once__cost_what_one_costs(polled: FlaskClient, runs: list[str], proxy: FaultProxy) -> None:
    paths = ["/jobs/status", f"/job/{NAMES[0]}?limit=50", runs[0]]
    for path in paths:
        assert polled.get(path, headers=FRESH).status_code == 200
    first = count_lists(proxy)
    application = polled.application

    def poll(number: int) -> int:
        return application.test_client().get(paths[number % 3], headers=POLL).status_code

    with ThreadPoolExecutor(10) as pool:
        assert set(pool.map(poll, range(150))) == {200}
    assert count_lists(proxy) == first


def test_50_pages__cost_at_most_one_list_a_second(
    polled: FlaskClient, runs: list[str], proxy: FaultProxy, clock: Clock
) -> None:
    """Each of 50 pages polls the definitions, and a list or a run, all two seconds long, for a minute."""
    paths = [f"/job/{name}?limit=50" for name in NAMES] + runs
    for path in ("/jobs/status", *paths):
        assert polled.get(path, headers=FRESH).status_code == 200
    first, seconds, ages = count_lists(proxy), 60, []
    for tick in range(seconds // 2):
        clock.now += 2
        for page in range(50):
            for path in ("/jobs/status", paths[page % len(paths)]) if page < 10 or tick < 3 else ():
                response = polled.get(path, headers=POLL)
                assert response.status_code == 200
                ages.append(int(response.headers["Age"]))
    most_of_one_poll = 4  # the answer for which the last list of the budget was spent
    assert count_lists(proxy) - first <= seconds + 5 + most_of_one_poll
    assert max(ages) <= 111


def test_poll__sees_changes_as_soon_as_the_budget_allows(
    polled: FlaskClient, runs: list[str], clock: Clock, server: Server, namespace: str
) -> None:
    def shown(headers: dict[str, str]) -> tuple[int, int]:
        response = polled.get(f"/job/{NAMES[0]}", headers=headers)
        return len(response.json), int(response.headers["Age"])

    assert shown(FRESH) == (1, 0)
    clock.now += 10
    assert polled.delete(runs[0]).status_code == 200
    assert "Age" not in polled.get(f"/job/{NAMES[0]}").headers  # a caller that does not poll
    while (found := shown(POLL))[0]:
        clock.now += 1  # the list that other callers share is up to a second old by the real clock
    assert found == (0, 0)


def test_poll__gets_links_and_errors_like_any_other_caller(polled: FlaskClient, runs: list[str]) -> None:
    check_problem(polled.get("/job/unknown", headers=POLL), 404)
    check_problem(polled.get(f"/job/{NAMES[0]}/aaaaaaaaaaaa", headers=POLL), 404)
    check_problem(polled.get(f"/job/{NAMES[0]}?limit=0", headers=POLL), 400)
    plain, kept = (polled.get(f"/job/{NAMES[0]}?limit=1", headers=headers) for headers in ({}, POLL))
    assert (plain.json, plain.headers.get("Link")) == (kept.json, kept.headers.get("Link"))


def test_run_that_is_deleted__is_not_shown_again(polled: FlaskClient, runs: list[str], clock: Clock) -> None:
    assert polled.get(runs[0], headers=FRESH).status_code == 200
    clock.now += 2
    assert polled.delete(runs[0]).status_code == 200
    assert {polled.get(runs[0], headers=POLL).status_code for _ in range(20)} == {404}


def test_caller_that_guesses_ids__makes_no_page_older(polled: FlaskClient, runs: list[str], clock: Clock) -> None:
    ages = []
    for second in range(60):
        for number in (2 * second, 2 * second + 1):
            guess = f"/job/{NAMES[0]}/{number:012}"
            check_problem(polled.get(guess, headers={"Cache-Control": "max-stale=1"}), 404)
        ages.append(int(polled.get(runs[0], headers=POLL).headers["Age"]))
        clock.now += 1
    assert max(ages) <= 6


@pytest.mark.parametrize(
    ("header", "polls"),
    [
        ("max-stale=60", True),
        ("max-stale", True),
        ("no-cache, max-stale=0", True),
        ("max-stale=-1", True),
        ("max-stale=x", False),
        ("no-cache", False),
        ("", False),
    ],
)
def test_cache_control__says_who_polls(polled: FlaskClient, header: str, polls: bool) -> None:
    assert ("Age" in polled.get("/jobs/status", headers={"Cache-Control": header}).headers) is polls


def test_poll__of_an_outage_gets_503(polled: FlaskClient, proxy: FaultProxy, clock: Clock) -> None:
    assert polled.get("/jobs/status", headers=FRESH).status_code == 200
    proxy.refuse_connections()
    proxy.cut_all()
    clock.now += 200
    check_problem(polled.get("/jobs/status", headers=POLL), 503)
    proxy.heal()
    assert polled.get("/jobs/status", headers=POLL).status_code == 200
