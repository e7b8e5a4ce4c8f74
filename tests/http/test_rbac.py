"""`SLIMFAAS_AUTHORIZATION=rbac`: the cluster's Roles decide what callers may do."""

import base64
import logging
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client
from werkzeug.test import TestResponse

from app.auth import token_cache
from app.auth.actions import Action
from app.auth.reviews import Reviews
from app.auth.tokens import InvalidTokenError
from app.common.concurrency_limiter import ConcurrencyLimiter
from app.kube.client import NamespacedClient
from app.kube.credentials import connect
from schemas.definition_view import PERMITTED
from tests.http.clients import UNTRUSTED_CLIENT, check_problem
from tests.http.permissions import ACCOUNTS, RbacFixture, binding, permitted
from tests.support.clock import Clock
from tests.support.faults import Fault, Hold, Refuse
from tests.support.servers import AUTH_DELEGATOR, Server
from tests.support.waiting import until

KUBECTL = shutil.which("kubectl")


@pytest.fixture(scope="module")
def rbac(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RbacFixture]:
    """A service whose callers have the example Roles."""
    with permitted(server, tmp_path_factory.mktemp("rbac")) as fixture:
        yield fixture


def test_polls__of_users_who_see_their_own_runs_are_kept_apart(rbac: RbacFixture) -> None:
    """Also the answer about a single run: to others it does not exist, although it is kept."""
    service = rbac.start()
    runs = {who: service.begin("fibonacci", who) for who in ("jane", "john")}

    def poll(path: str, who: str) -> TestResponse:
        headers = {"Authorization": f"Bearer {service.tokens[who]}", "Cache-Control": "max-stale=110"}
        response: TestResponse = service.client.get(path, headers=headers, environ_base=UNTRUSTED_CLIENT)
        return response

    for who, other in (("jane", "john"), ("john", "jane")):
        listed = poll("/job/fibonacci?limit=500", who)
        assert "Age" in listed.headers
        assert runs[who].rpartition("/")[2] in ids(listed)
        assert runs[other].rpartition("/")[2] not in ids(listed)
        assert poll(runs[who], who).status_code == 200
        assert poll(runs[other], who).status_code == 404


def test_definition__tells_what_its_caller_may_do(rbac: RbacFixture) -> None:
    service = rbac.start()
    found = {who: service.call("GET", "/job/fibonacci/definition", who) for who in ("jane", "viewer", "operator")}
    permitted_to = {who: (one.json["Permitted"], one.json["PermittedOnOwn"]) for who, one in found.items()}
    on_own = ["Cancel", "ChangeSchedule", "DeleteSchedule", "List", "ListSchedules", "Read", "ReadLog", "ReadSchedule"]
    assert permitted_to == {
        "jane": (["CreateSchedule", "Start"], on_own),
        "viewer": (["List", "ListSchedules", "Read", "ReadLog", "ReadSchedule"], []),
        "operator": (sorted(PERMITTED), []),
    }
    for who in ("stranger", None):
        check_problem(service.call("GET", "/job/fibonacci/definition", who), 403)


def ids(response: TestResponse) -> list[str]:
    assert response.status_code == 200, response.text
    return [run["Id"] for run in response.json or ()]


def test_starter__uses_only_its_own_runs_of_a_private_definition(rbac: RbacFixture) -> None:
    """`create` is enough for that. To others its runs do not exist, whatever they ask for."""
    service = rbac.start()
    own, other = service.begin("fibonacci", "jane"), service.begin("fibonacci", "john")
    listed = service.call("GET", "/job/fibonacci", "jane")
    assert own.rpartition("/")[2] in ids(listed)
    assert other.rpartition("/")[2] not in ids(listed)
    assert listed.headers["SlimFaas-Runs"] == "own"
    assert service.call("GET", own, "jane").json["StartedBy"] == account_name(rbac, "jane")
    assert service.call("GET", f"{own}/logs", "jane").status_code == 409, "it is queued"
    for method, path in (("GET", other), ("HEAD", other), ("GET", f"{other}/logs"), ("DELETE", other)):
        response = service.call(method, path, "jane")
        assert response.status_code == 404, (method, path)
    unknown = f"/job/fibonacci/{'a' * 12}"
    assert service.call("GET", other, "jane").data == service.call("GET", unknown, "jane").data
    assert service.call("DELETE", "/job/fibonacci?status=Queued", "jane").status_code == 403
    assert service.call("DELETE", own, "jane").status_code == 200
    assert service.call("GET", other, "john").status_code == 200


def account_name(rbac: RbacFixture, account: str) -> str:
    return f"system:serviceaccount:{rbac.namespace}:{account}"


def test_starter__has_no_right_to_another_definition(rbac: RbacFixture) -> None:
    service = rbac.start()
    detail = check_problem(service.call("POST", "/job/other", "jane"), 403)["detail"]
    assert detail == "the cluster's RBAC does not permit it; needed: create jobs.slimfaas.dev/other"
    detail = check_problem(service.call("GET", f"/job/other/{'a' * 12}/logs", "jane"), 403)["detail"]
    assert detail.endswith("needed: get jobs.slimfaas.dev/other --subresource=log")


def test_viewer__sees_everybodys_runs_and_changes_none(rbac: RbacFixture) -> None:
    service = rbac.start()
    runs = [service.begin("fibonacci", "jane"), service.begin("fibonacci", "john")]
    listed = service.call("GET", "/job/fibonacci", "viewer")
    assert {run.rpartition("/")[2] for run in runs} <= set(ids(listed))
    assert "SlimFaas-Runs" not in listed.headers
    for run in runs:
        assert service.call("GET", run, "viewer").status_code == 200
        check_problem(service.call("DELETE", run, "viewer"), 403)
    check_problem(service.call("POST", "/job/fibonacci", "viewer"), 403)


def test_pages__of_one_user_are_not_those_of_another(rbac: RbacFixture) -> None:
    """Pages are remembered for a second."""
    service = rbac.start()
    service.begin("fibonacci", "operator")
    everything = ids(service.call("GET", "/job/fibonacci?limit=500", "viewer"))
    mine = ids(service.call("GET", "/job/fibonacci?limit=500", "operator"))
    own = ids(service.call("GET", "/job/fibonacci?limit=500", "jane"))
    assert everything == mine
    assert len(own) < len(everything)


def test_idempotency_key__finds_no_run_of_another_user(rbac: RbacFixture) -> None:
    """Nor can another user take the key of a run that is still to come."""
    service = rbac.start()

    def start(account: str | None, definition: str) -> TestResponse:
        headers = {"Idempotency-Key": "order-4711"}
        if account is not None:
            headers["Authorization"] = f"Bearer {rbac.token(account, 'slimfaas-jobs')}"
        response: TestResponse = service.client.post(
            f"/job/{definition}", headers=headers, environ_base=UNTRUSTED_CLIENT
        )
        return response

    for definition, accounts in (("fibonacci", ("jane", "john", "operator")), ("public", ("jane", "john", None))):
        first = [start(account, definition) for account in accounts]
        again = [start(account, definition) for account in accounts]
        assert [one.status_code for one in (*first, *again)] == [202] * 6
        assert len({one.headers["Location"] for one in first}) == 3
        assert [one.headers["Location"] for one in again] == [one.headers["Location"] for one in first]
        assert [one.headers.get("Idempotency-Replayed") for one in first] == [None] * 3


def test_public_run__knows_who_started_it(rbac: RbacFixture) -> None:
    """Anyone may start one. A user lists those that it has started; the anonymous user has none."""
    service = rbac.start()
    known, unknown = service.begin("public", "stranger"), service.begin("public", None)
    assert service.call("GET", known).json["StartedBy"] == account_name(rbac, "stranger")
    assert service.call("GET", unknown, "stranger").json["StartedBy"] == ""
    assert known.rpartition("/")[2] in ids(service.call("GET", "/job/public", "stranger"))
    assert unknown.rpartition("/")[2] not in ids(service.call("GET", "/job/public", "stranger"))
    check_problem(service.call("GET", "/job/public"), 403)
    check_problem(service.call("DELETE", "/job/public?status=Queued", "stranger"), 403)
    assert service.call("DELETE", unknown).status_code == 200, "its id is the key"


def test_invalid_token__gets_401_even_where_no_token_is_needed(rbac: RbacFixture) -> None:
    service = rbac.start()
    forged = rbac.token("operator")[:-8] + "AAAAAAAA"
    deep = f"e30.{base64.urlsafe_b64encode(b'[' * 4000).decode().rstrip('=')}.c2ln"
    service.tokens.update(forged=forged, opaque="s3cret", elsewhere=rbac.token("operator", "vault"), deep=deep)
    for token in ("forged", "opaque", "elsewhere", "deep"):
        for path in ("/job/public", "/job/fibonacci"):
            response = service.call("POST", path, token)
            check_problem(response, 401)
            assert "invalid_token" in response.headers["WWW-Authenticate"]
    assert service.call("GET", f"/job/fibonacci?access_token={forged}").status_code in (400, 403)


def test_token__may_be_for_the_service_or_for_the_api_server(rbac: RbacFixture) -> None:
    service = rbac.start()
    service.tokens.update(api_server=rbac.token("jane"), both=rbac.token("jane", "vault", "slimfaas-jobs"))
    for token in ("api_server", "both", "jane"):
        assert service.call("POST", "/job/fibonacci", token).status_code == 202


def test_caller__can_not_claim_to_be_another_user(rbac: RbacFixture) -> None:
    """Neither by fields of the body, nor by headers of Kubernetes' own proxies, nor by its address."""
    service = rbac.start()
    assert service.call("POST", "/job/fibonacci", "jane", '{"StartedBy": "x"}').status_code == 422
    claims = {"X-Remote-User": "admin", "Impersonate-User": "admin", "X-Remote-Group": "system:masters"}
    claims["slimfaas.dev/started-by"] = "admin"
    response = service.client.post("/job/fibonacci", headers=claims, environ_base=UNTRUSTED_CLIENT)
    assert response.status_code == 403
    response = service.client.post("/job/public", headers=claims, environ_base=UNTRUSTED_CLIENT)
    assert service.call("GET", response.headers["Location"]).json["StartedBy"] == ""


def test_outage__gets_503_not_401(rbac: RbacFixture) -> None:
    """Whether the token or the access can't be reviewed. Nothing of it is remembered, and nothing secret is logged."""
    service = rbac.start()
    for path in (r"/tokenreviews$", r"/subjectaccessreviews$"):
        for refusal in (Refuse(403, "Forbidden"), Refuse(500, "InternalError")):
            rbac.proxy.add(Fault(refusal, path=path, times=None))
            try:
                for call in (("POST", "/job/fibonacci"), ("GET", "/job/fibonacci"), ("GET", "/jobs/status")):
                    problem = check_problem(service.call(*call, "jane"), 503)
                    assert "could not identify the caller" in problem["detail"]
            finally:
                rbac.proxy.heal()
    assert service.call("POST", "/job/fibonacci", "jane").status_code == 202


def test_reviews__are_remembered_for_seconds(rbac: RbacFixture) -> None:
    """What is allowed for longer than what is not, a token for less than both together with the API server's 10 s."""
    clock = Clock()
    reviews = Reviews(
        NamespacedClient(connect(rbac.settings.kubeconfig, None)), "slimfaas-jobs", ConcurrencyLimiter(), clock=clock
    )
    token = rbac.token("jane", "slimfaas-jobs")
    user = reviews.find_user(token)
    lookups: dict[Any, float] = {
        lambda: reviews.find_user(token): 4.0,
        lambda: reviews.find_user("rubbish"): 2.0,
        lambda: reviews.is_allowed(user, Action.START, "fibonacci"): 5.0,
        lambda: reviews.is_allowed(user, Action.CANCEL, "fibonacci"): 2.0,
    }
    clock.now += 60.0

    def count_calls(look_up: Any) -> int:
        before = len(rbac.proxy.requests)
        with suppress(InvalidTokenError):
            look_up()
        return len(rbac.proxy.requests) - before

    for look_up, seconds in lookups.items():
        began = clock.now
        assert [count_calls(look_up), count_calls(look_up)] == [1, 0]
        clock.now = began + seconds - 0.01
        assert count_calls(look_up) == 0
        clock.now = began + seconds
        assert count_calls(look_up) == 1


def test_revoked_right__is_felt_once_the_answer_is_forgotten(rbac: RbacFixture) -> None:
    """An allowed access is cached for 5 s. The API server itself takes a moment more."""
    clock, rights = Clock(), client.RbacAuthorizationV1Api(rbac.server.admin)
    reviews = Reviews(
        NamespacedClient(connect(rbac.settings.kubeconfig, None)), "slimfaas-jobs", ConcurrencyLimiter(), clock=clock
    )
    user = reviews.find_user(rbac.token("stranger"))

    def allowed(seconds: float) -> bool:
        clock.now += seconds
        return reviews.is_allowed(user, Action.START, "fibonacci")

    assert not allowed(0)
    rights.create_namespaced_role_binding(rbac.namespace, binding("stranger", "start-fibonacci", rbac.namespace))
    try:
        until(lambda: allowed(2.0))
    finally:
        rights.delete_namespaced_role_binding("stranger", rbac.namespace)
    until(lambda: not allowed(5.0))


@pytest.mark.parametrize(("method", "rest"), [("POST", ""), ("GET", "/definition")])
@pytest.mark.parametrize("who", [None, "stranger", "viewer"])
def test_hidden_definition__looks_like_an_unknown_one(
    rbac: RbacFixture, who: str | None, method: str, rest: str
) -> None:
    """The same response after the same calls to the API server."""
    seen = []
    for name in ("other", "unknown"):
        service = rbac.start(hide_private=True)
        if who is not None:
            service.call("GET", "/jobs/status", who)
        before = len(rbac.proxy.requests)
        response = service.call(method, f"/job/{name}{rest}", who)
        assert response.headers.pop("X-Request-Id")
        calls = [(request.method, request.path) for request in rbac.proxy.requests[before:]]
        seen.append((response.status_code, response.data.replace(name.encode(), b""), list(response.headers), calls))
    assert seen[0] == seen[1]
    assert seen[0][0] == 404


def test_status__shows_what_each_user_may_see(rbac: RbacFixture) -> None:
    """In full where it may list, in short where it may start."""

    def shown(who: str | None) -> dict[str, bool]:
        response = rbac.start().call("GET", "/jobs/status", who)
        return {one["Name"]: "QueueLength" in one for one in response.json or ()}

    assert shown(None) == {"public": False}
    assert shown("stranger") == {"public": False}
    assert shown("jane") == {"public": False, "fibonacci": False}
    assert shown("viewer") == {"public": True, "fibonacci": True, "other": True}


def test_callers_without_a_token__leave_room_for_users(rbac: RbacFixture) -> None:
    """However many names they make up, and however slow the reviews are."""
    service = rbac.start(hide_private=True)
    assert service.call("POST", "/job/fibonacci", "jane").status_code == 202
    hold = Hold()
    rbac.proxy.add(Fault(hold, path=r"/subjectaccessreviews$", times=2))
    with ThreadPoolExecutor(8) as pool:
        flood = [pool.submit(service.call, "GET", f"/job/made-up-{number}") for number in range(8)]
        try:
            until(lambda: sum(one.done() for one in flood) >= 4)  # two are asked about, two wait
            assert service.call("POST", "/job/other", "operator").status_code == 202
        finally:
            hold.release()
    assert sorted(one.result().status_code for one in flood) == [404] * 4 + [503] * 4


def test_tokens_that_callers_make_up__leave_room_for_good_ones(
    rbac: RbacFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are, and however slow. Tokens that were valid before have places of their own."""
    monkeypatch.setattr(token_cache, "TOKEN_SECONDS", 0.0)  # the API server is asked about every token each time
    service = rbac.start()
    assert service.call("POST", "/job/fibonacci", "jane").status_code == 202
    hold = Hold()
    rbac.proxy.add(Fault(hold, path=r"/tokenreviews$", times=2))
    with ThreadPoolExecutor(12) as pool:
        service.tokens.update({f"made-up-{number}": f"made-up-{number}" for number in range(12)})
        flood = [pool.submit(service.call, "POST", "/job/public", f"made-up-{number}") for number in range(12)]
        try:
            hold.wait_held(2)
            assert service.call("POST", "/job/fibonacci", "jane").status_code == 202
        finally:
            hold.release()
    assert {one.result().status_code for one in flood} <= {401, 503}


def test_access_log__names_the_user(rbac: RbacFixture, caplog: pytest.LogCaptureFixture) -> None:
    service = rbac.start()
    with caplog.at_level(logging.INFO, "app.api.access_log"):
        service.call("POST", "/job/fibonacci", "jane")
        service.call("POST", "/job/other", "jane")
        service.call("POST", "/job/other")
    lines = [record.getMessage() for record in caplog.records if record.name == "app.api.access_log"]
    assert lines[0].endswith(f"user={account_name(rbac, 'jane')} caller=user")
    assert f"user={account_name(rbac, 'jane')} caller=user reason=NotPermitted" in lines[1]
    assert lines[2].endswith("user=system:anonymous caller=anonymous reason=NotPermitted")
    assert service.tokens["jane"] not in caplog.text


def with_crd(test: Any) -> Any:
    """Run a test in a cluster with the CustomResourceDefinition by which kubectl knows the names of permissions.

    A cluster can have it once, so one xdist worker runs all these tests.
    """
    for mark in (
        pytest.mark.usefixtures("known_to_kubectl"),
        pytest.mark.xdist_group("crd"),
        pytest.mark.real_only("it needs CustomResourceDefinitions and impersonation"),
    ):
        test = mark(test)
    return test


@pytest.fixture(scope="module")
def known_to_kubectl(server: Server) -> Iterator[None]:
    """Create the CustomResourceDefinitions, and delete them after the last test of this module."""
    definitions: Any = client.ApiextensionsV1Api(server.admin)
    manifests = list(yaml.safe_load_all(AUTH_DELEGATOR.with_name("crd.yaml").read_text("utf-8")))
    names = [manifest["metadata"]["name"] for manifest in manifests]
    for manifest in manifests:
        definitions.create_custom_resource_definition(manifest)

    def established(name: str) -> bool:
        conditions = definitions.read_custom_resource_definition(name).status.conditions or ()
        return any(one.type == "Established" and one.status == "True" for one in conditions)

    def gone(name: str) -> bool:
        try:
            definitions.read_custom_resource_definition(name)
        except client.ApiException as error:
            return error.status == 404
        return False

    until(lambda: all(map(established, names)))
    yield
    for name in names:
        definitions.delete_custom_resource_definition(name)
    # The fixture may be set up again, if the worker runs a test of another module in between.
    until(lambda: all(map(gone, names)))


@pytest.mark.slow
@pytest.mark.skipif(KUBECTL is None, reason="needs kubectl")
@with_crd
def test_kubectl__and_the_service_agree(rbac: RbacFixture, tmp_path: Path) -> None:
    """`kubectl auth can-i`, as docs/security.md shows it."""
    service = rbac.start()
    for account in ACCOUNTS:
        for action, method, path in (
            (Action.START, "POST", "/job/fibonacci?dryRun=true"),
            (Action.START, "POST", "/job/other?dryRun=true"),
            (Action.EMPTY, "DELETE", "/job/other?status=Queued"),
            (Action.READ_LOG, "GET", f"/job/other/{'a' * 12}/logs"),
            (Action.LIST, "GET", "/job/other"),
            (Action.CREATE_SCHEDULE, "POST", "/job-schedules/fibonacci?dryRun=true"),
            (Action.LIST_SCHEDULES, "GET", "/job-schedules/other"),
        ):
            permission = action.permission.describe(path.split("/")[2].partition("?")[0]).split()
            user = ("--as", account_name(rbac, account))
            answer = run_kubectl(tmp_path, "-n", rbac.namespace, "auth", "can-i", *permission, *user)
            status = service.call(method, path, account).status_code
            assert answer == ("no" if status == 403 else "yes"), (account, permission, status)


@with_crd
def test_custom_resource__can_not_be_stored(rbac: RbacFixture) -> None:
    """There is no store beside Kubernetes' own Jobs."""
    custom: Any = client.CustomObjectsApi(rbac.server.admin)
    body = {"apiVersion": "slimfaas.dev/v1", "kind": "Job", "metadata": {"name": "fibonacci"}}

    def refused() -> bool:
        try:
            custom.create_namespaced_custom_object("slimfaas.dev", "v1", rbac.namespace, "jobs", body)
        except client.ApiException as error:
            return error.status == 422 and "started through the service" in str(error.body)
        raise AssertionError("it was stored")

    until(refused)  # until then the API server answers 404


def run_kubectl(folder: Path, *arguments: str) -> str:
    """Run kubectl as the administrator of KUBECONFIG, and return what it prints."""
    command = [str(KUBECTL), f"--cache-dir={folder}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
