"""The table of docs/security.md that says what each kind of caller may do: every cell is tried over HTTP."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client
from werkzeug.test import TestResponse

from app.factory import create_app
from tests.http.permissions import RbacFixture, binding, permitted
from tests.http.test_access_matrix import make_pod
from tests.support.servers import Server
from tests.support.waiting import until

DEFINITIONS = {
    "public": {"Image": "busybox:1", "Visibility": "Public", "DependsOn": ["nobody"]},
    "private": {"Image": "busybox:1", "DependsOn": ["nobody"]},
}
POD, RUN, NETWORK, OUTSIDER = "10.91.0.1", "10.91.0.2", "192.0.2.9", "203.0.113.9"
TABLE = Path(__file__).resolve().parents[2] / "docs" / "security.md"


def read_table() -> dict[tuple[str, str], str]:
    """Return the cells by row and column."""
    section = TABLE.read_text("utf-8").partition("### Each kind of caller")[2].partition("\n#")[0]
    head, _, *rows = [line for line in section.splitlines() if line.startswith("|")]
    (_, *columns), *cells = ([cell.strip() for cell in line.strip("|").split("|")] for line in (head, *rows))
    return {(row, column): cell for row, *values in cells for column, cell in zip(columns, values, strict=True)}


CELLS = read_table()

SCHEDULE = '{"Schedule": "0 0 1 1 *"}'
BODIES = {"PATCH": '{"Suspend": true}'}

Send = Callable[..., TestResponse]
"""Sends a request: a method, a path and perhaps a body."""


@dataclass(frozen=True)
class Callers:
    """A service for each setting, with a sender for each kind of caller, and somebody else's run of each definition."""

    senders: dict[str, Send]
    others: dict[str, dict[str, str]]

    def send(self, column: str, method: str, path: str, data: str = "") -> TestResponse:
        """Send a request of a kind of caller."""
        return self.senders[column](method, path, data)

    def schedule(self, column: str, definition: str) -> str:
        """Make a schedule; return its path."""
        response = self.send(column, "POST", f"/job-schedules/{definition}", SCHEDULE)
        assert response.status_code == 201, response.text
        return str(response.headers["Location"])

    def others_run(self, column: str, definition: str) -> str:
        """Return the path of a run that somebody else has started."""
        return self.others["rbac" if column.startswith("rbac") else "trust"][definition]


@pytest.fixture(scope="module")
def callers(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callers]:
    with permitted(server, tmp_path_factory.mktemp("callers")) as fixture:
        core: Any = client.CoreV1Api(server.admin)
        make_pod(core, fixture.namespace, "insider", POD, {})
        make_pod(core, fixture.namespace, "run", RUN, {"annotations": {"SlimFaas/DefaultTrust": "Untrusted"}})
        yield begin(fixture, server)
        for name in ("insider", "run"):
            core.patch_namespaced_pod(name, fixture.namespace, {"metadata": {"finalizers": None}})


def begin(fixture: RbacFixture, server: Server) -> Callers:
    """Start the services."""
    settings = replace(fixture.settings, configuration=json.dumps({"Configurations": DEFINITIONS}))
    trust = replace(
        settings,
        authorization="trust",
        trusted_networks=(ip_network("192.0.2.0/24"),),
        trusted_service_accounts=((fixture.namespace, "stranger"),),
    )
    rights: Any = client.RbacAuthorizationV1Api(server.admin)
    rule = {"apiGroups": ["slimfaas.dev"], "resources": ["jobs", "schedules"], "verbs": ["create"]}
    rights.create_namespaced_role(fixture.namespace, {"metadata": {"name": "start"}, "rules": [rule]})
    rights.create_namespaced_role_binding(fixture.namespace, binding("stranger", "start", fixture.namespace))
    apps = {"trust": create_app(trust).test_client(), "rbac": create_app(settings).test_client()}

    def sender(mode: str, address: str, account: str | None = None) -> Send:
        token = None if account is None else fixture.token(account, "slimfaas-jobs")
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        environment = {"REMOTE_ADDR": address}
        return lambda method, path, data="": apps[mode].open(
            path, method=method, headers=headers, data=data, environ_base=environment
        )

    senders = {
        "anyone": sender("trust", OUTSIDER),
        "a pod of a public run": sender("trust", RUN),
        "a pod of the namespace": sender("trust", POD),
        "a trusted network": sender("trust", NETWORK),
        "a listed token": sender("trust", OUTSIDER, "stranger"),
        "rbac: no token": sender("rbac", POD),
        "rbac: `start`": sender("rbac", OUTSIDER, "stranger"),
        "rbac: `see-all-runs`": sender("rbac", OUTSIDER, "viewer"),
        "rbac: `operate`": sender("rbac", OUTSIDER, "operator"),
    }
    until(lambda: senders["rbac: `start`"]("POST", "/job/private?dryRun=true").status_code == 200)
    makers = {"trust": senders["a trusted network"], "rbac": senders["rbac: `operate`"]}
    others = {
        mode: {name: str(send("POST", f"/job/{name}").headers["Location"]) for name in DEFINITIONS}
        for mode, send in makers.items()
    }
    return Callers(senders, others)


def is_allowed(expected: str, definition: str) -> bool:
    return expected == "all" or definition in expected.split(", ")


def may_start(callers: Callers, column: str, definition: str, expected: str) -> bool:
    tried = callers.send(column, "POST", f"/job/{definition}?dryRun=true").status_code == 200
    started = callers.send(column, "POST", f"/job/{definition}")
    assert tried == (started.status_code == 202)
    return tried


def may_use(method: str, rest: str, done: int) -> Callable[[Callers, str, str, str], bool]:
    def check(callers: Callers, column: str, definition: str, expected: str) -> bool:
        """Try it with a run of somebody else, and with an own one where the cell says so."""
        run = callers.others_run(column, definition)
        if method == "DELETE" and is_allowed(expected, definition):
            # A run of the same maker that no other cell needs.
            run = str(callers.send(maker_of(column), "POST", f"/job/{definition}").headers["Location"])
        if "own" in expected:
            own = str(callers.send(column, "POST", f"/job/{definition}").headers["Location"])
            assert callers.send(column, method, f"{own}{rest}").status_code == done
        response = callers.send(column, method, f"{run}{rest}")
        assert response.status_code in (done, 403, 404)
        return response.status_code == done

    return check


def may_list(callers: Callers, column: str, definition: str, expected: str) -> bool:
    own = callers.send(column, "POST", f"/job/{definition}")
    response = callers.send(column, "GET", f"/job/{definition}?limit=500")
    if response.status_code == 403:
        assert "own" not in expected
        return False
    listed = [run["Id"] for run in response.json or ()]
    if "own" in expected:
        assert own.headers["Location"].rpartition("/")[2] in listed
    return callers.others_run(column, definition).rpartition("/")[2] in listed


def may_schedule(callers: Callers, column: str, definition: str, expected: str) -> bool:
    path = f"/job-schedules/{definition}"
    tried = callers.send(column, "POST", f"{path}?dryRun=true", SCHEDULE).status_code == 200
    made = callers.send(column, "POST", path, SCHEDULE)
    assert tried == (made.status_code == 201)
    return tried


def maker_of(column: str) -> str:
    """Return a kind of caller that may do everything, in the same service."""
    return "rbac: `operate`" if column.startswith("rbac") else "a trusted network"


def may_use_schedule(method: str, done: int) -> Callable[[Callers, str, str, str], bool]:
    def check(callers: Callers, column: str, definition: str, expected: str) -> bool:
        """Try it with a schedule of somebody else, and with an own one where the cell says so."""
        others = callers.schedule(maker_of(column), definition)
        if "own" in expected:
            own = callers.schedule(column, definition)
            assert callers.send(column, method, own, BODIES.get(method, "")).status_code == done
        response = callers.send(column, method, others, BODIES.get(method, ""))
        assert response.status_code in (done, 403, 404)
        return response.status_code == done

    return check


def may_list_schedules(callers: Callers, column: str, definition: str, expected: str) -> bool:
    others = callers.schedule(maker_of(column), definition)
    own = callers.schedule(column, definition) if "own" in expected else ""
    response = callers.send(column, "GET", f"/job-schedules/{definition}")
    if response.status_code == 403:
        assert "own" not in expected
        return False
    listed = [schedule["Id"] for schedule in response.json or ()]
    if own:
        assert own.rpartition("/")[2] in listed
    assert (response.headers.get("SlimFaas-Schedules") == "own") == (expected == "own")
    return others.rpartition("/")[2] in listed


def may_empty(callers: Callers, column: str, definition: str, expected: str) -> bool:
    """The real queue is emptied last: its runs are those of the other cells, so an unknown status must do here."""
    response = callers.send(column, "DELETE", f"/job/{definition}?status=Running")
    assert response.status_code in (400, 403)
    return response.status_code == 400  # refused for its query alone: the caller would have been let in


def may_see(key: str) -> Callable[[Callers, str, str, str], bool]:
    def check(callers: Callers, column: str, definition: str, expected: str) -> bool:
        shown = {one["Name"]: one for one in callers.send(column, "GET", "/jobs/status").json or ()}
        return key in shown.get(definition, {})

    return check


def may_read_bounds(callers: Callers, column: str, definition: str, expected: str) -> bool:
    response = callers.send(column, "GET", f"/job/{definition}/definition")
    assert response.status_code in (200, 403)
    return response.status_code == 200


ROWS: dict[str, Callable[[Callers, str, str, str], bool]] = {
    "start a run, or try to (`dryRun`)": may_start,
    "see what a request may set (`/job/<name>/definition`)": may_read_bounds,
    "read a run by its id, wait for it": may_use("GET", "", 200),
    "read its log": may_use("GET", "/logs", 409),  # it is queued, and so has no log yet
    "cancel it": may_use("DELETE", "", 200),
    "list runs": may_list,
    "empty a queue": may_empty,
    "make a schedule, or try to (`dryRun`)": may_schedule,
    "read a schedule by its id": may_use_schedule("GET", 200),
    "pause and resume it": may_use_schedule("PATCH", 200),
    "delete it": may_use_schedule("DELETE", 204),
    "list schedules": may_list_schedules,
    "see names, slots and how many are taken (`/jobs/status`)": may_see("NumberParallelJob"),
    "see images, resources, queues, dependencies and which runs are active there": may_see("RunningJobs"),
}


def test_table__has_every_row_and_column(callers: Callers) -> None:
    assert {row for row, _ in CELLS} == set(ROWS)
    assert {column for _, column in CELLS} == set(callers.senders)
    assert set(CELLS.values()) == {"all", "public", "none", "own", "public, own"}


@pytest.mark.parametrize(("row", "column"), CELLS)
def test_cell__is_true(callers: Callers, row: str, column: str) -> None:
    expected = CELLS[row, column]
    for definition in DEFINITIONS:
        allowed = is_allowed(expected, definition)
        assert ROWS[row](callers, column, definition, expected) is allowed, definition
