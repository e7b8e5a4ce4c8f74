"""`/metrics`: what is counted, and that no caller can make it grow or learn from it what is hidden."""

import json
import re
import secrets
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.factory import create_app
from app.settings import Settings
from app.telemetry.exposition import write_metrics
from tests.http.clients import ANYBODY, DEFINITIONS, SECRET, Caller
from tests.support.faults import FaultProxy
from tests.support.metrics import Scrape
from tests.support.servers import Server, write_kubeconfig


def scrape(caller: Caller) -> Scrape:
    answer = caller.get("/metrics")
    assert answer.status_code == 200
    assert answer.content_type == "text/plain; version=0.0.4; charset=utf-8"
    return Scrape(answer.text)


def test_requests_are_counted_by_definition_outcome_and_reason(caller: Caller) -> None:
    """Accepted, replayed, tried, and refused for what."""
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


def test_a_scrape_asks_the_api_server_nothing(caller_by_proxy: Caller, proxy: FaultProxy) -> None:
    """However often, and also while it is away."""
    proxy.refuse_connections()
    for _ in range(3):
        assert caller_by_proxy.get("/metrics").status_code == 200
    assert proxy.requests == []


def test_calls_to_the_api_server_are_counted(caller_by_proxy: Caller, proxy: FaultProxy) -> None:
    """By what they do to what, and how they end."""
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
    assert after.value("api_calls_open") == before.value("api_calls_open")


def test_ten_thousand_made_up_names_methods_and_headers_make_no_series(caller: Caller) -> None:
    """A caller can choose among what there is, and add nothing to it."""
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


def test_nothing_of_a_call_or_of_the_configuration_is_shown(caller: Caller) -> None:
    """No values, images or addresses."""
    caller.post("/job/public", '{"Args": ["hush-hush"]}')
    text = scrape(caller).text
    for word in ("hush-hush", SECRET, "busybox", ANYBODY["REMOTE_ADDR"]):
        assert word not in text


def test_openmetrics_for_those_who_ask_for_it(caller: Caller) -> None:
    """As Prometheus does."""
    answer = caller.get("/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"})
    assert answer.content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert answer.text.endswith("# EOF\n")


FORMS = r"(application/openmetrics-text|text/plain)(;(version|escaping|q)=[^,]*)*"


@given(st.text() | st.from_regex(FORMS, fullmatch=True))
def test_whatever_is_accepted_one_of_two_forms_is_answered(accept: str) -> None:
    """A header of the scraper's own making fails nothing, and is not said back."""
    text = write_metrics(accept, ["public"])
    assert text.content_type in (
        "text/plain; version=0.0.4; charset=utf-8",
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
    )


@pytest.fixture
def hiding(server: Server, namespace: str, tmp_path: Path) -> Caller:
    """The application where private definitions are hidden."""
    settings = Settings(
        configuration=json.dumps(DEFINITIONS),
        kubeconfig=str(write_kubeconfig(tmp_path, server, namespace)),
        hide_private=True,
    )
    return Caller(create_app(settings).test_client())


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer rubbish"}])
def test_a_hidden_definition_can_not_be_found_by_the_metrics(hiding: Caller, headers: dict[str, str]) -> None:
    """A call for it leaves the same behind as one for a name that there isn't; its own name is nowhere."""

    def left_behind(name: str) -> list[tuple[str, str]]:
        before = scrape(hiding)
        hiding.post(f"/job/{name}", headers=headers)
        changed = set(scrape(hiding)) - set(before)
        # But for how long it took, and what answering scrapes adds.
        wanted = [re.split(r" (?=\S+$)", line) for line in changed if "_seconds" not in line and '"metrics' not in line]
        return sorted((name, str(float(value) - before_value(before, name))) for name, value in wanted)

    def before_value(before: Scrape, name: str) -> float:
        return next((float(line.rsplit(" ", 1)[1]) for line in before if line.startswith(f"{name} ")), 0.0)

    left_behind("private")  # so that no series is new
    left_behind("unknown")
    hidden, unknown = left_behind("private"), left_behind("unknown")
    drop = ("process_", "slimfaas_jobs_memory")
    assert [one for one in hidden if not one[0].startswith(drop)] == [
        one for one in unknown if not one[0].startswith(drop)
    ]
    assert '"private"' not in scrape(hiding).text
