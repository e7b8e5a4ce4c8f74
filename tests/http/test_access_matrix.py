"""Every kind of caller against public and private definitions, with every method."""

import base64
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client
from werkzeug.test import TestResponse

from app.auth.identities import Identities
from app.auth.tokens import InvalidTokenError
from app.common.concurrency_limiter import ConcurrencyLimiter
from app.factory import create_app
from app.kube.client import NamespacedClient
from app.kube.credentials import connect
from app.settings import Settings
from tests.http.clients import DEFINITIONS, check_problem
from tests.support.clock import Clock
from tests.support.faults import Fault, FaultProxy, Refuse
from tests.support.servers import Server, write_kubeconfig

PODS: dict[str, dict[str, Any]] = {
    "insider": {},
    "trusted": {"annotations": {"SlimFaas/DefaultTrust": "Trusted"}},
    "untrusted": {"annotations": {"SlimFaas/DefaultTrust": "Untrusted"}},
    "finished": {"phase": "Succeeded"},
    "failed": {"phase": "Failed"},
    "pending": {"phase": "Pending"},
    "host": {"hostNetwork": True},
    "deleted": {},
    "six": {},
}
ADDRESSES = {name: f"10.77.0.{number}" for number, name in enumerate(PODS, 1)} | {"six": "fd77::1"}
ELSEWHERE, OUTSIDER, NETWORK, PROXY = "10.78.0.1", "203.0.113.7", "192.0.2.7", "10.79.0.1"


Call = Callable[..., TestResponse]
"""Sends a request: a method, a path and perhaps a body."""


@dataclass(frozen=True)
class CallerFixture:
    """A namespace with a pod of every kind, tokens, and the settings of a service in it."""

    settings: Settings
    proxy: FaultProxy
    tokens: dict[str, str]

    def call(
        self,
        method: str,
        path: str,
        address: str,
        headers: dict[str, str] | None = None,
        *,
        data: str = "",
        **settings: Any,
    ) -> TestResponse:
        """Send a request to a new service, which has nothing cached."""
        return self.begin(address, headers, **settings)(method, path, data)

    def begin(self, address: str, headers: dict[str, str] | None = None, **settings: Any) -> Call:
        """Start a service; the result sends it requests of one caller."""
        values = {name: getattr(self.settings, name) for name in self.settings.__slots__} | settings
        caller = create_app(Settings(**values)).test_client()
        environment = {"REMOTE_ADDR": address}
        return lambda method, path, data="": caller.open(
            path, method=method, headers=headers, data=data, environ_base=environment
        )


def make_pod(core: client.CoreV1Api, namespace: str, name: str, address: str, state: dict[str, Any]) -> None:
    """Make a pod that no node runs, in a given state."""
    spec = {
        "schedulerName": "nobody",
        "hostNetwork": state.get("hostNetwork", False),
        "containers": [{"name": "main", "image": "busybox:1"}],
    }
    metadata = {"name": name, "annotations": state.get("annotations", {}), "finalizers": ["slimfaas.dev/test"]}
    core.create_namespaced_pod(namespace, {"metadata": metadata, "spec": spec})
    status = {"phase": state.get("phase", "Running"), "podIP": address, "podIPs": [{"ip": address}]}
    core.patch_namespaced_pod_status(name, namespace, {"status": status})
    if name == "deleted":
        core.delete_namespaced_pod(name, namespace)


@pytest.fixture(scope="module")
def callers(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CallerFixture]:
    """Pods of every kind, one in another namespace, and tokens."""
    core = client.CoreV1Api(server.admin)
    here, there = server.create_namespace(), server.create_namespace()
    pods = [(name, here) for name in PODS] + [("elsewhere", there)]
    for name, namespace in pods:
        make_pod(core, namespace, name, ADDRESSES.get(name, ELSEWHERE), PODS.get(name, {}))

    def token(namespace: str, audience: str) -> str:
        spec = {"spec": {"audiences": [audience], "expirationSeconds": 600}}
        return str(core.create_namespaced_service_account_token("default", namespace, spec).status.token)

    tokens = {"listed": token(here, "jobs"), "unlisted": token(there, "jobs"), "wrong": token(here, "others")}
    head, body, signature = tokens["listed"].split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    tokens["expired"] = ".".join([head, encode(claims | {"exp": 1}), signature])
    tokens["forged"] = ".".join([head, encode(claims | {"jti": "x"}), signature])
    tokens["malformed"] = "no-token"
    with FaultProxy(server.url, ca=server.ca_file) as proxy:
        folder: Path = tmp_path_factory.mktemp("callers")
        yield CallerFixture(
            Settings(
                configuration=json.dumps(DEFINITIONS),
                kubeconfig=str(write_kubeconfig(folder, server, here, url=proxy.url)),
                dispatcher=False,
                trusted_networks=(ip_network("192.0.2.0/24"),),
                trusted_proxies=(ip_network("10.79.0.0/24"),),
                trusted_service_accounts=((here, "*"),),
                token_audience="jobs",
            ),
            proxy,
            tokens,
        )
    for name, namespace in pods:
        core.patch_namespaced_pod(name, namespace, {"metadata": {"finalizers": None}})
    for namespace in (here, there):
        server.delete_namespace(namespace)


def encode(claims: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")


FORGED = [
    {name: value}
    for name in ("X-Forwarded-For", "x-forwarded-for", "Forwarded", "FORWARDED", "X-Real-IP", "x-real-ip")
    for value in (ADDRESSES["insider"], f"for={NETWORK}", "")
]
CALLERS: dict[str, tuple[str, dict[str, str], int]] = {
    "outsider": (OUTSIDER, {}, 403),
    "nobody": ("", {}, 403),
    "loopback": ("127.0.0.1", {}, 403),
    "network": (NETWORK, {}, 200),
    "elsewhere": (ELSEWHERE, {}, 403),
    **{name: (ADDRESSES[name], {}, 200 if name in ("insider", "trusted", "six") else 403) for name in PODS},
    "mapped": (f"::ffff:{ADDRESSES['insider']}", {}, 200),
    "long": ("FD77:0:0:0:0:0:0:1", {}, 200),
    "scoped": ("fd77::1%eth0", {}, 403),
    "proxy": (PROXY, {}, 403),
    "proxy for outsider": (PROXY, {"X-Forwarded-For": f"{NETWORK}, {OUTSIDER}"}, 403),
    "proxy for insider": (PROXY, {"Forwarded": f"for={ADDRESSES['insider']}"}, 200),
    "proxy for untrusted": (PROXY, {"X-Real-IP": ADDRESSES["untrusted"]}, 403),
    "proxy contradicted": (PROXY, {"X-Forwarded-For": OUTSIDER, "X-Real-IP": NETWORK}, 403),
    **{f"insider forging {one}": (ADDRESSES["insider"], one, 403) for one in FORGED},
    **{f"outsider forging {one}": (OUTSIDER, one, 403) for one in FORGED},
    **{
        f"{where} with {token} token": ({"in": ADDRESSES["insider"], "out": OUTSIDER}[where], {"token": token}, status)
        for where in ("in", "out")
        for token, status in {
            "listed": 200, "unlisted": 403, "wrong": 401, "expired": 401, "forged": 401, "malformed": 401
        }.items()
    },
}  # fmt: skip


LIST, EMPTY = ("GET", ""), ("DELETE", "?status=Queued")
"""What needs trust even on a public definition."""

WHO = [
    pytest.param(who, marks=[pytest.mark.slow] if "forging" in who and str(FORGED[0]) not in who else [])
    for who in CALLERS
]
"""The parameters of tests for each caller; of those that forge a header one is quick, as unit tests have them all."""

METHODS = [
    ("POST", "", 202),
    ("POST", "/path?dryRun=true", 200),
    ("GET", "", 200),
    ("GET", "/aaaaaaaaaaaa", 404),
    ("HEAD", "/aaaaaaaaaaaa", 404),
    ("GET", "/aaaaaaaaaaaa/logs", 404),
    ("DELETE", "/aaaaaaaaaaaa", 404),
    ("DELETE", "?status=Queued", 200),
]
"""Every operation on a definition, and its status for a caller with access."""


@pytest.mark.parametrize("hide", [False, True])
@pytest.mark.parametrize("who", WHO)
def test_access__depends_on_caller_and_visibility_for_every_method(
    callers: CallerFixture, who: str, hide: bool
) -> None:
    """Hidden private definitions look like unknown ones."""
    address, headers, expected = credentials_of(callers, who)
    call = callers.begin(address, headers, hide_private=hide)
    for method, rest, inside in METHODS:
        public = call(method, f"/job/public{rest}")
        needs_trust = (method, rest) in (LIST, EMPTY)
        assert public.status_code == (expected if needs_trust and expected != 200 else inside), public.text
        response = call(method, f"/job/private{rest}")
        unknown = call(method, f"/job/unknown{rest}")
        refused = 404 if hide and expected == 403 else expected
        assert response.status_code == (inside if expected == 200 else refused), response.text
        assert ("WWW-Authenticate" in response.headers) == (expected == 401)
        if hide and expected != 200:
            for refusal in (response, unknown):
                assert refusal.headers.pop("X-Request-Id")  # each response has its own
            assert (response.status, response.data, list(response.headers)) == (
                unknown.status,
                unknown.data,
                list(unknown.headers),
            )
        elif not hide:
            assert unknown.status_code == 404


@pytest.mark.parametrize("hide", [False, True])
@pytest.mark.parametrize("who", WHO)
def test_status__lists_what_the_caller_may_use(callers: CallerFixture, who: str, hide: bool) -> None:
    """An invalid token gets 401."""
    address, headers, expected = credentials_of(callers, who)
    response = callers.call("GET", "/jobs/status", address, headers, hide_private=hide)
    if expected == 401:
        check_problem(response, 401)
    else:
        assert response.status_code == 200
        listed = {one["Name"]: one for one in response.json or ()}
        assert ("private" in listed) == (expected == 200)
        assert ("QueueLength" in listed["public"]) == (expected == 200)


@pytest.mark.parametrize("who", ["outsider", "untrusted", "in with unlisted token"])
def test_public_listing__opens_public_definitions_to_every_caller(callers: CallerFixture, who: str) -> None:
    """Private ones stay closed. A public definition then costs no look-up of the caller."""
    address, headers, _ = credentials_of(callers, who)
    call = callers.begin(address, headers, public_listing=True)
    for method, rest in (LIST, EMPTY):
        assert call(method, f"/job/public{rest}").status_code == 200
        assert call(method, f"/job/private{rest}").status_code == 403
    (public,) = call("GET", "/jobs/status").json or ()
    assert "QueueLength" in public


def test_public_run__can_be_used_by_anyone_who_has_its_id(callers: CallerFixture) -> None:
    """Nobody can find the id of another caller's run."""
    call, other = callers.begin(OUTSIDER), callers.begin(ELSEWHERE)
    location = call("POST", "/job/public").headers["Location"]
    assert other("GET", location).status_code == 200
    assert other("GET", f"{location}/logs").status_code == 409, "it is queued, so it has no log"
    detail = check_problem(other("GET", "/job/public"), 403)["detail"]
    assert "needs a trusted caller" in detail
    check_problem(other("DELETE", "/job/public?status=Queued"), 403)
    assert call("GET", location).status_code == 200, "nobody has emptied the queue"
    assert other("DELETE", location).status_code == 200


def test_public_definition__costs_no_look_up_of_the_caller(callers: CallerFixture) -> None:
    """The only call to the API server creates the run."""
    for who in ("outsider", "insider", "in with listed token", "out with malformed token"):
        address, headers, _ = credentials_of(callers, who)
        asked = len(callers.proxy.requests)
        assert callers.call("POST", "/job/public", address, headers).status_code == 202
        assert len(callers.proxy.requests) == asked + 1


def credentials_of(callers: CallerFixture, who: str) -> tuple[str, dict[str, str], int]:
    """Return a caller's address, its headers, and its status for reading a private definition."""
    address, headers, expected = CALLERS[who]
    if "token" in headers:
        headers = {"Authorization": f"Bearer {callers.tokens[headers['token']]}"}
    return address, headers, expected


def test_private_definition__gets_503_if_the_caller_can_not_be_looked_up(callers: CallerFixture) -> None:
    """Hidden or not; the failure is not cached."""
    listed = {"Authorization": f"Bearer {callers.tokens['listed']}"}
    callers.proxy.refuse_connections()
    callers.proxy.cut_all()
    try:
        for headers in ({}, listed):
            for hide, path in [(False, "private"), (True, "private"), (True, "unknown")]:
                for method in ("GET", "POST"):
                    target = f"/job/{path}/aaaaaaaaaaaa"
                    response = callers.call(method, target, ADDRESSES["insider"], headers, hide_private=hide)
                    assert "could not identify the caller" in check_problem(response, 503)["detail"]
        check_problem(callers.call("POST", "/job/private", OUTSIDER, {"Forwarded": ""}), 403)
        check_problem(callers.call("GET", "/job/public/no_id", OUTSIDER), 404)
    finally:
        callers.proxy.heal()
    assert callers.call("POST", "/job/private", ADDRESSES["insider"]).status_code == 202


def test_access_log__has_refused_reads(callers: CallerFixture, caplog: pytest.LogCaptureFixture) -> None:
    """Reads that were allowed are logged at DEBUG."""
    path = "/job/private/aaaaaaaaaaaa"
    with caplog.at_level(logging.INFO, "app.api.access_log"):
        callers.call("GET", path, OUTSIDER, {"Authorization": "Bearer rubbish"})
        callers.call("GET", path, OUTSIDER, hide_private=True)
        callers.call("GET", path, ADDRESSES["insider"])
    assert [record.getMessage() for record in caplog.records if record.name == "app.api.access_log"] == [
        f"GET status=401 definition=private run=aaaaaaaaaaaa address={OUTSIDER} reason=InvalidToken",
        (
            f"GET status=404 definition=private run=aaaaaaaaaaaa address={OUTSIDER} caller=no-pod-of-the-namespace "
            "reason=UnknownDefinition"
        ),
    ]


def test_access_log__names_client_account_and_field_names(
    callers: CallerFixture, caplog: pytest.LogCaptureFixture
) -> None:
    """An id that is malformed is left out."""
    with caplog.at_level(logging.INFO, "app.api.access_log"):
        callers.call("POST", "/job/private", PROXY, {"X-Forwarded-For": NETWORK}, data='{"Args": ["hush"]}')
        callers.call("POST", "/job/private", OUTSIDER, {"Authorization": f"Bearer {callers.tokens['listed']}"})
        callers.call("DELETE", "/job/public/INFO:forged", OUTSIDER)
    lines = [record.getMessage() for record in caplog.records if record.name == "app.api.access_log"]
    ((namespace, _),) = callers.settings.trusted_service_accounts
    assert lines[0].endswith(f" fields=Args address={PROXY} forwarded-for={NETWORK} caller=trusted-network")
    assert lines[1].endswith(f" address={OUTSIDER} account={namespace}:default caller=trusted-account")
    assert lines[2] == f"DELETE status=404 definition=public address={OUTSIDER} reason=UnknownRun"


def test_identities__are_cached_for_a_few_seconds(callers: CallerFixture) -> None:
    """Pods and denied tokens for two seconds, valid tokens for four.

    For a stranger's address, the second addresses are looked up, too.
    """
    clock = Clock()
    namespace = NamespacedClient(connect(callers.settings.kubeconfig, None))
    identities = Identities(namespace, "jobs", ConcurrencyLimiter(), clock=clock)

    def count_calls(look_up: Callable[[], object]) -> int:
        before = len(callers.proxy.requests)
        with suppress(InvalidTokenError):
            look_up()
        return len(callers.proxy.requests) - before

    lookups: list[tuple[Callable[[], object], int, float]] = [
        (lambda: identities.find_pod(ip_address(ADDRESSES["insider"])), 1, 2.0),
        (lambda: identities.find_pod(ip_address(OUTSIDER)), 2, 2.0),
        (lambda: identities.find_account(callers.tokens["listed"]), 1, 4.0),
        (lambda: identities.find_account(callers.tokens["forged"]), 1, 2.0),
    ]
    began = clock.now
    for look_up, calls, seconds in lookups:
        clock.now = began
        assert [count_calls(look_up), count_calls(look_up)] == [calls, 0]
        clock.now = began + seconds - 0.01
        assert count_calls(look_up) == 0
        clock.now = began + seconds
        assert count_calls(look_up) == calls


def test_token__is_neither_logged_nor_returned_if_its_review_fails(
    callers: CallerFixture, caplog: pytest.LogCaptureFixture
) -> None:
    """The API server's message may quote the token."""
    token = callers.tokens["listed"]
    callers.proxy.add(Fault(Refuse(422, "Invalid", message=f"spec.token: {token}"), path="/tokenreviews$"))
    with caplog.at_level(logging.DEBUG):
        response = callers.call("POST", "/job/private", OUTSIDER, {"Authorization": f"Bearer {token}"})
    assert "could not identify the caller" in check_problem(response, 503)["detail"]
    assert token not in response.text
    assert "the API server refused the look-up as invalid" in caplog.text
    assert token not in caplog.text


def test_token__is_ignored_unless_enabled(callers: CallerFixture) -> None:
    off: dict[str, Any] = {"trusted_service_accounts": ()}
    for token, address, status in [("malformed", ADDRESSES["insider"], 202), ("listed", OUTSIDER, 403)]:
        headers = {"Authorization": f"Bearer {callers.tokens[token]}"}
        assert callers.call("POST", "/job/private", address, headers, **off).status_code == status


def test_access_log__contains_no_text_of_the_caller(callers: CallerFixture, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "app.api.access_log"):
        callers.call("POST", "/job/private/x%20y", ADDRESSES["insider"])
        callers.call("GET", "/job/private/aaaaaaaaaaaa", OUTSIDER, {"X-Forwarded-For": "evil\x85words"})
        callers.call("EVIL", "/job/evil", OUTSIDER, {"Authorization": f"Bearer {callers.tokens['listed']}"})
    lines = [record.getMessage() for record in caplog.records if record.name == "app.api.access_log"]
    assert len(lines) == 3
    assert lines[0].startswith("POST status=202 definition=private run=")
    assert lines[0].endswith(f"address={ADDRESSES['insider']} pod=insider caller=trusted-pod")
    assert lines[1] == (
        f"GET status=403 definition=private run=aaaaaaaaaaaa address={OUTSIDER} caller=forwarded-by-no-trusted-proxy "
        "reason=NotTrusted"
    )
    assert lines[2] == f"other status=405 address={OUTSIDER} reason=MethodNotAllowed"
