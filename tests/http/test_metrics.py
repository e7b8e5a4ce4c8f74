"""`/metrics`: what is counted. Callers can neither make it grow nor learn from it what is hidden."""

import json
import re
import secrets
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.auth import identities, token_cache
from app.factory import create_app
from app.settings import Settings
from app.telemetry.exposition import write_metrics
from tests.http.clients import DEFINITIONS, SECRET, UNTRUSTED_CLIENT, Caller
from tests.support.faults import FaultProxy
from tests.support.metrics import Scrape
from tests.support.servers import Server, write_kubeconfig
from tests.support.waiting import until


def scrape(caller: Caller) -> Scrape:
    response = caller.get("/metrics")
    assert response.status_code == 200
    assert response.content_type == "text/plain; version=0.0.4; charset=utf-8"
    return Scrape(response.text)


def test_metrics__count_requests_by_definition_outcome_and_reason(caller: Caller) -> None:
    before = scrape(caller)
    key = {"Idempotency-Key": secrets.token_hex(8)}
    caller.post("/job/public", headers=key)
    caller.post("/job/public", headers=key)
    caller.post("/job/public?dryRun=true")
    caller.post("/job/public", "{")
    caller.post("/job/public", '{"Image": "evil:1"}')
    caller.post("/job/private")
    caller.post(f"/job/{secrets.token_hex(4)}")
    after = scrape(caller)
    for definition, outcome, reason in (
        ("public", "accepted", ""),
        ("public", "replayed", ""),
        ("public", "tried", ""),
        ("public", "refused", "NotJson"),
        ("public", "refused", "Refused"),
        ("private", "refused", "NotTrusted"),
        ("(unknown)", "refused", "UnknownDefinition"),
    ):
        labels = {"definition": definition, "outcome": outcome, "reason": reason}
        assert after.value("requests_total", **labels) == before.value("requests_total", **labels) + 1, labels


def test_metrics__cost_no_call_to_the_api_server(caller_by_proxy: Caller, proxy: FaultProxy) -> None:
    proxy.refuse_connections()
    for _ in range(3):
        assert caller_by_proxy.get("/metrics").status_code == 200
    assert proxy.requests == []


def test_metrics__count_calls_to_the_api_server(caller_by_proxy: Caller, proxy: FaultProxy) -> None:
    before = scrape(caller_by_proxy)
    proxy.refuse_connections()
    assert caller_by_proxy.get("/job/public").status_code == 503
    proxy.heal()
    assert caller_by_proxy.post("/job/public").status_code == 202
    after = scrape(caller_by_proxy)
    for labels in (
        {"verb": "create", "resource": "jobs", "code": "201"},
        {"verb": "list", "resource": "jobs", "code": "unreachable"},
    ):
        assert after.value("api_calls_total", **labels) > before.value("api_calls_total", **labels)
    assert after.value("api_call_seconds_count", verb="create", resource="jobs") > 0
    until(lambda: scrape(caller_by_proxy).value("api_calls_open", kind="call") == 0)


@pytest.mark.slow
def test_metrics__do_not_grow_with_invented_names_methods_and_headers(caller: Caller) -> None:
    requests = [
        lambda word: caller.post(f"/job/{word}"),
        lambda word: caller.get(f"/{word}"),
        lambda word: caller.get(f"/job/public/{word}"),
        lambda word: caller.call(word.upper(), "/job/public"),
        lambda word: caller.call("DELETE", f"/job/{word}/{word}"),
        lambda word: caller.get(f"/job/{word}/{word}/logs?{word}={word}"),
        lambda word: caller.get("/metrics", headers={"Accept": f"text/{word}", "X-Request-Id": word}),
        lambda word: caller.post("/job/public", f'{{"{word}": 1}}', headers={"Prefer": f"{word}={word}"}),
    ]
    words = [f"x{secrets.token_hex(6)}" for _ in range(10_000)]
    for request, word in zip(requests, words[: len(requests)], strict=True):
        request(word)
    before = scrape(caller)
    for number, word in enumerate(words[len(requests) :]):
        requests[number % len(requests)](word)
    after = scrape(caller)
    assert len(after) == len(before)
    assert not [word for word in words if word in after.text]
    assert after.labels("definition") <= {"public", "private", "(unknown)"}


def test_metrics__show_no_values_images_or_addresses(caller: Caller) -> None:
    caller.post("/job/public", '{"Args": ["hush-hush"]}')
    text = scrape(caller).text
    for word in ("hush-hush", SECRET, "busybox", UNTRUSTED_CLIENT["REMOTE_ADDR"]):
        assert word not in text


def test_metrics__are_openmetrics_on_request(caller: Caller) -> None:
    response = caller.get("/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"})
    assert response.content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert response.text.endswith("# EOF\n")


FORMS = r"(application/openmetrics-text|text/plain)(;(version|escaping|q)=[^,]*)*"


@given(st.text() | st.from_regex(FORMS, fullmatch=True))
def test_write_metrics__accepts_any_accept_header(accept: str) -> None:
    text = write_metrics(accept, ["public"])
    assert text.content_type in (
        "text/plain; version=0.0.4; charset=utf-8",
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
    )


@pytest.fixture
def hiding_caller(server: Server, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Caller:
    """Send requests to an application that hides private definitions, and remembers callers for the whole test."""
    for module, name in ((identities, "_POD_SECONDS"), (token_cache, "TOKEN_SECONDS")):
        monkeypatch.setattr(module, name, 3600.0)
    settings = Settings(
        configuration=json.dumps(DEFINITIONS),
        kubeconfig=str(write_kubeconfig(tmp_path, server, namespace)),
        hide_private=True,
    )
    return Caller(create_app(settings).test_client())


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer rubbish"}])
def test_metrics__do_not_reveal_a_hidden_definition(hiding_caller: Caller, headers: dict[str, str]) -> None:
    """A request for it changes the same series as one for an unknown name."""

    def changed_series(name: str) -> list[tuple[str, str]]:
        before = scrape(hiding_caller)
        hiding_caller.post(f"/job/{name}", headers=headers)
        changed = set(scrape(hiding_caller)) - set(before)
        # Without durations and what the scrape itself adds.
        compared = [
            re.split(r" (?=\S+$)", line) for line in changed if "_seconds" not in line and '"metrics' not in line
        ]
        return sorted((name, str(float(value) - before_value(before, name))) for name, value in compared)

    def before_value(before: Scrape, name: str) -> float:
        return next((float(line.rsplit(" ", 1)[1]) for line in before if line.startswith(f"{name} ")), 0.0)

    changed_series("private")  # creates all series
    changed_series("unknown")
    hidden, unknown = changed_series("private"), changed_series("unknown")
    # The application's own threads list and watch at any time, and use memory and processor time.
    background = re.compile(r'process_|slimfaas_jobs_memory|.*(kind="stream"|verb="watch"|resource="(cronjobs|jobs)")')
    assert [one for one in hidden if not background.match(one[0])] == [
        one for one in unknown if not background.match(one[0])
    ]
    assert '"private"' not in scrape(hiding_caller).text
