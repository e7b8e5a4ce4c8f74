"""Every kind of caller against public and private definitions, by every verb."""

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


@dataclass(frozen=True)
class Town:
    """A namespace full of pods, and the service in it."""

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
        """Call a service that remembers nothing."""
        values = {name: getattr(self.settings, name) for name in self.settings.__slots__} | settings
        caller = create_app(Settings(**values)).test_client()
        return caller.open(path, method=method, headers=headers, data=data, environ_base={"REMOTE_ADDR": address})


def make_pod(core: client.CoreV1Api, namespace: str, name: str, address: str, state: dict[str, Any]) -> None:
    """A pod that nobody runs, in the state that a test gives it."""
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
def town(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """Pods of every kind, one of another namespace, and tokens."""
    core = client.CoreV1Api(server.admin)
    here, there = server.create_namespace(), server.create_namespace()
    places = [(name, here) for name in PODS] + [("elsewhere", there)]
    for name, namespace in places:
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
        folder: Path = tmp_path_factory.mktemp("town")
        yield Town(
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
    for name, namespace in places:
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


VERBS = [
    ("POST", "", 202),
    ("POST", "/path?dryRun=true", 200),
    ("GET", "", 200),
    ("GET", "/aaaaaaaaaaaa", 404),
    ("HEAD", "/aaaaaaaaaaaa", 404),
    ("GET", "/aaaaaaaaaaaa/logs", 404),
    ("DELETE", "/aaaaaaaaaaaa", 404),
    ("DELETE", "?status=Queued", 200),
]
"""Every call about a definition, and what it gets who is let in."""


@pytest.mark.parametrize("hide", [False, True])
@pytest.mark.parametrize("who", CALLERS)
def test_every_caller_gets_what_is_due_by_every_verb(town: Town, who: str, hide: bool) -> None:
    """Public: in, whoever it is. Private: trusted callers alone; hidden: as if it were not there."""
    address, headers, due = credentials_of(town, who)
    for method, rest, inside in VERBS:
        public = town.call(method, f"/job/public{rest}", address, headers, hide_private=hide)
        assert public.status_code == inside, public.text
        answer = town.call(method, f"/job/private{rest}", address, headers, hide_private=hide)
        unknown = town.call(method, f"/job/unknown{rest}", address, headers, hide_private=hide)
        refused = 404 if hide and due == 403 else due
        assert answer.status_code == (inside if due == 200 else refused), answer.text
        assert ("WWW-Authenticate" in answer.headers) == (due == 401)
        if hide and due != 200:
            for told in (answer, unknown):
                assert told.headers.pop("X-Request-Id")  # every call has its own
            assert (answer.status, answer.data, list(answer.headers)) == (
                unknown.status,
                unknown.data,
                list(unknown.headers),
            )
        elif not hide:
            assert unknown.status_code == 404


@pytest.mark.parametrize("hide", [False, True])
@pytest.mark.parametrize("who", CALLERS)
def test_every_caller_sees_the_status_of_what_is_open_to_it(town: Town, who: str, hide: bool) -> None:
    """Private definitions are listed for trusted callers alone; a bad token is told so."""
    address, headers, due = credentials_of(town, who)
    answer = town.call("GET", "/jobs/status", address, headers, hide_private=hide)
    if due == 401:
        check_problem(answer, 401)
    else:
        assert answer.status_code == 200
        assert ("private" in [one["Name"] for one in answer.json or ()]) == (due == 200)


def test_a_public_definition_asks_nobody_who_calls(town: Town) -> None:
    """One call to the API server: the run itself."""
    for who in ("outsider", "insider", "in with listed token", "out with malformed token"):
        address, headers, _ = credentials_of(town, who)
        asked = len(town.proxy.requests)
        assert town.call("POST", "/job/public", address, headers).status_code == 202
        assert len(town.proxy.requests) == asked + 1


def credentials_of(town: Town, who: str) -> tuple[str, dict[str, str], int]:
    """A caller's address, its headers, and the status that is due where a private definition has something to read."""
    address, headers, due = CALLERS[who]
    if "token" in headers:
        headers = {"Authorization": f"Bearer {town.tokens[headers['token']]}"}
    return address, headers, due


def test_when_the_api_server_is_away_private_calls_fail_closed(town: Town) -> None:
    """503 for whoever has to be asked about, hidden or not; nothing is remembered of it."""
    listed = {"Authorization": f"Bearer {town.tokens['listed']}"}
    town.proxy.refuse_connections()
    town.proxy.cut_all()
    try:
        for headers in ({}, listed):
            for hide, path in [(False, "private"), (True, "private"), (True, "unknown")]:
                for method in ("GET", "POST"):
                    target = f"/job/{path}/aaaaaaaaaaaa"
                    answer = town.call(method, target, ADDRESSES["insider"], headers, hide_private=hide)
                    assert "who calls" in check_problem(answer, 503)["detail"]
        check_problem(town.call("POST", "/job/private", OUTSIDER, {"Forwarded": ""}), 403)
        check_problem(town.call("GET", "/job/public/no-id", OUTSIDER), 404)
    finally:
        town.proxy.heal()
    assert town.call("POST", "/job/private", ADDRESSES["insider"]).status_code == 202


def test_whoever_is_refused_is_in_the_log_also_for_reading(town: Town, caplog: pytest.LogCaptureFixture) -> None:
    """A bad token, and a definition that the answer doesn't admit to; who may read is no news."""
    path = "/job/private/aaaaaaaaaaaa"
    with caplog.at_level(logging.INFO, "app.api.access_log"):
        town.call("GET", path, OUTSIDER, {"Authorization": "Bearer rubbish"})
        town.call("GET", path, OUTSIDER, hide_private=True)
        town.call("GET", path, ADDRESSES["insider"])
    assert [record.getMessage() for record in caplog.records if record.name == "app.api.access_log"] == [
        f"GET status=401 definition=private run=aaaaaaaaaaaa address={OUTSIDER} reason=InvalidToken",
        (
            f"GET status=404 definition=private run=aaaaaaaaaaaa address={OUTSIDER} caller=no-pod-of-the-namespace "
            "reason=UnknownDefinition"
        ),
    ]


def test_the_log_names_who_was_looked_up_and_fields_without_values(
    town: Town, caplog: pytest.LogCaptureFixture
) -> None:
    """The client behind a proxy, a token's account, and what a request overrides; an id that is none is left out."""
    with caplog.at_level(logging.INFO, "app.api.access_log"):
        town.call("POST", "/job/private", PROXY, {"X-Forwarded-For": NETWORK}, data='{"Args": ["hush"]}')
        town.call("POST", "/job/private", OUTSIDER, {"Authorization": f"Bearer {town.tokens['listed']}"})
        town.call("DELETE", "/job/public/INFO%20forged", OUTSIDER)
    lines = [record.getMessage() for record in caplog.records if record.name == "app.api.access_log"]
    ((namespace, _),) = town.settings.trusted_service_accounts
    assert lines[0].endswith(f" fields=Args address={PROXY} forwarded-for={NETWORK} caller=trusted-network")
    assert lines[1].endswith(f" address={OUTSIDER} account={namespace}:default caller=trusted-account")
    assert lines[2] == f"DELETE status=404 definition=public address={OUTSIDER} reason=UnknownRun"


def test_what_is_known_of_a_caller_is_asked_again_in_time(town: Town) -> None:
    """A pod after two seconds, a token after ten, a bad one as well; tokens that begin alike are told apart."""
    clock = Clock()
    namespace = NamespacedClient(connect(town.settings.kubeconfig, None))
    identities = Identities(namespace, "jobs", ConcurrencyLimiter(), clock=clock)

    def calls(of: Callable[[], object]) -> int:
        before = len(town.proxy.requests)
        with suppress(InvalidTokenError):
            of()
        return len(town.proxy.requests) - before

    lookups: dict[Callable[[], object], float] = {
        lambda: identities.pod_at(ip_address(ADDRESSES["insider"])): 2.0,
        lambda: identities.pod_at(ip_address(OUTSIDER)): 2.0,
        lambda: identities.account_of(town.tokens["listed"]): 10.0,
        lambda: identities.account_of(town.tokens["forged"]): 10.0,
    }
    began = clock.now
    for look_up, seconds in lookups.items():
        clock.now = began
        assert [calls(look_up), calls(look_up)] == [1, 0]
        clock.now = began + seconds - 0.01
        assert calls(look_up) == 0
        clock.now = began + seconds
        assert calls(look_up) == 1


def test_what_the_api_server_says_of_a_question_about_a_token_is_not_passed_on(
    town: Town, caplog: pytest.LogCaptureFixture
) -> None:
    """It may quote the question, and so the token."""
    token = town.tokens["listed"]
    town.proxy.add(Fault(Refuse(422, "Invalid", message=f"spec.token: {token}"), path="/tokenreviews$"))
    with caplog.at_level(logging.DEBUG):
        answer = town.call("POST", "/job/private", OUTSIDER, {"Authorization": f"Bearer {token}"})
    assert "who calls" in check_problem(answer, 503)["detail"]
    assert token not in answer.text
    assert "the API server does not accept the question" in caplog.text
    assert token not in caplog.text


def test_tokens_are_not_looked_at_unless_they_are_turned_on(town: Town) -> None:
    """Then a bad one harms nobody, and a good one helps nobody."""
    off: dict[str, Any] = {"trusted_service_accounts": ()}
    for token, address, status in [("malformed", ADDRESSES["insider"], 202), ("listed", OUTSIDER, 403)]:
        headers = {"Authorization": f"Bearer {town.tokens[token]}"}
        assert town.call("POST", "/job/private", address, headers, **off).status_code == status


def test_the_log_says_who_called_and_nothing_that_callers_made_up(town: Town, caplog: pytest.LogCaptureFixture) -> None:
    """One line a call; no token, no name that isn't the configuration's."""
    with caplog.at_level(logging.INFO, "app.api.access_log"):
        town.call("POST", "/job/private/x%20y", ADDRESSES["insider"])
        town.call("GET", "/job/private/aaaaaaaaaaaa", OUTSIDER, {"X-Forwarded-For": "evil\x85words"})
        town.call("EVIL", "/job/evil", OUTSIDER, {"Authorization": f"Bearer {town.tokens['listed']}"})
    lines = [record.getMessage() for record in caplog.records if record.name == "app.api.access_log"]
    assert len(lines) == 3
    assert lines[0].startswith("POST status=202 definition=private run=")
    assert lines[0].endswith(f"address={ADDRESSES['insider']} pod=insider caller=trusted-pod")
    assert lines[1] == (
        f"GET status=403 definition=private run=aaaaaaaaaaaa address={OUTSIDER} caller=forwarded-by-no-trusted-proxy "
        "reason=NotTrusted"
    )
    assert lines[2] == f"other status=405 address={OUTSIDER} reason=MethodNotAllowed"
