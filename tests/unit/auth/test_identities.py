"""Pods and tokens, judged from what the API server says, and how long that is remembered."""

import base64
import json
import threading
from ipaddress import ip_address
from typing import Any

import pytest

from app.auth.identities import judge_pods
from app.auth.tokens import Account, InvalidTokenError, judge_review, read_token
from app.common.concurrency_limiter import ConcurrencyLimiter
from app.common.single_flight_cache import SingleFlightCache
from tests.support.clock import Clock

AT = ip_address("10.1.1.1")


def pod(name: str = "web", trust: str | None = None, *, ip: str = "10.1.1.1", **changes: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "annotations": {} if trust is None else {"SlimFaas/DefaultTrust": trust},
            **({"deletionTimestamp": "2001-01-01T00:00:00Z"} if changes.get("deleted") else {}),
        },
        "spec": {"hostNetwork": True} if changes.get("host") else {},
        "status": {"phase": changes.get("phase", "Running"), "podIPs": [{"ip": ip}]},
    }


@pytest.mark.parametrize(
    ("pods", "trusted"),
    [
        ([], False),
        ([pod()], True),
        ([pod(trust="Trusted")], True),
        ([pod(ip="::ffff:10.1.1.1")], True),
        ([pod(trust="Untrusted")], False),
        ([pod(trust="untrusted")], False),
        ([pod(trust="")], False),
        ([pod(phase="Succeeded")], False),
        ([pod(phase="Pending")], False),
        ([pod(deleted=True)], False),
        ([pod(host=True)], False),
        ([pod(ip="10.1.1.11")], False),
        ([pod(), pod("other")], True),
        ([pod(), pod("other", "Untrusted")], False),
        ([pod(), pod("other", host=True)], False),
        ([pod(), pod("other", "Untrusted", phase="Failed")], True),
        ([pod(), pod("other", deleted=True)], True),
    ],
)
def test_a_pod_is_trusted_when_it_runs_alone_at_its_address(pods: list[dict[str, Any]], trusted: bool) -> None:
    """Whatever is unclear isn't trusted."""
    assert judge_pods(pods, AT).trusted is trusted


def jwt(claims: Any) -> str:
    head, body = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({}, claims))
    return f"{head}.{body}.c2ln"


GOOD = jwt({"exp": 200})


@pytest.mark.parametrize("header", [None, "", "Basic eDp5", "Bearers x", "Digest a=b, c=d"])
def test_what_speaks_of_no_bearer_is_no_token(header: str | None) -> None:
    """Such callers are judged by their addresses."""
    assert read_token(header, 100) is None


@pytest.mark.parametrize("header", [f"Bearer {GOOD}", f"bEARER   {GOOD} ", f"\tBearer {GOOD}"])
def test_a_bearer_token_is_read_whatever_the_case_and_the_space(header: str) -> None:
    """RFC 9110: schemes have no case."""
    assert read_token(header, 100) == GOOD


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer x",
        "Bearer a.b.c",
        f"Bearer {GOOD},Bearer {GOOD}",
        f"Basic eDp5,bearer {GOOD}",
        f"Bearer\t{GOOD}",
        f"Bearer {GOOD} x",
        f"Bearer {GOOD}.x",
        f"Bearer {GOOD}\u00e9",
        f"Bearer {jwt({'exp': 100})}",
        f"Bearer {jwt({'exp': '200'})}",
        f"Bearer {jwt({'exp': True})}",
        f"Bearer {jwt({'exp': float('nan')})}",
        f"Bearer {jwt([])}",
        "Bearer a." + base64.urlsafe_b64encode(b"[" * 4500).decode().rstrip("=") + ".c",
        f"Bearer {jwt({'exp': 200, 'x': 'y' * 9000})}",
    ],
)
def test_rubbish_is_told_apart_without_asking_anybody(header: str) -> None:
    """It gets 401 and costs no call; an expired token, too."""
    with pytest.raises(InvalidTokenError):
        read_token(header, 100)


def review(username: str = "system:serviceaccount:a:b", **changes: Any) -> dict[str, Any]:
    return {"authenticated": True, "audiences": ["jobs"], "user": {"username": username}, **changes}


@pytest.mark.parametrize(
    "status",
    [{}, review(authenticated=False), review(authenticated="true"), review(audiences=[]), review(audiences=["x"])],
)
def test_a_review_counts_only_with_our_audience(status: dict[str, Any]) -> None:
    """An API server that doesn't know audiences says yes to tokens that are meant for others."""
    with pytest.raises(InvalidTokenError):
        judge_review(status, "jobs")


def test_a_review_names_an_account_or_somebody_else() -> None:
    """Users are no ServiceAccounts."""
    assert judge_review(review(), "jobs") == Account("a", "b")
    assert judge_review(review("admin"), "jobs") is None
    assert judge_review(review("system:anonymous"), "jobs") is None
    assert judge_review(review("oidc:system:serviceaccount:a:b"), "jobs") is None
    assert judge_review(review("system:serviceaccount:a:b:c"), "jobs") is None


def test_what_is_remembered_is_gone_after_its_time_and_failures_at_once() -> None:
    """The time counts from the question, for the answer may be as old."""
    clock, answers = Clock(), iter([True, False])
    memory: SingleFlightCache[bool] = SingleFlightCache(ConcurrencyLimiter(1), seconds=2.0, clock=clock)

    def fail() -> bool:
        raise OSError("away")

    def slow() -> bool:
        clock.now += 1.5
        return next(answers)

    with pytest.raises(OSError, match="away"):
        memory.get("a", fail)
    assert memory.get("a", slow) is True
    clock.now += 0.4
    assert memory.get("a", slow) is True
    clock.now += 0.1
    assert memory.get("a", slow) is False


def test_the_oldest_is_forgotten_first_and_memory_is_bounded() -> None:
    """However many addresses call."""
    asked: list[int] = []
    memory: SingleFlightCache[None] = SingleFlightCache(ConcurrencyLimiter(1), seconds=100.0, size=3, clock=Clock())
    for key in (1, 2, 3, 4, 2, 1):
        memory.get(key, lambda key=key: asked.append(key))
    assert asked == [1, 2, 3, 4, 1]


def test_what_is_asked_again_is_new() -> None:
    """An answer that was renewed is kept longer than those from before."""
    asked: list[int] = []
    clock = Clock()
    memory: SingleFlightCache[None] = SingleFlightCache(ConcurrencyLimiter(1), seconds=10.0, size=3, clock=clock)
    for key, seconds in ((1, 6.0), (2, 6.0), (1, 0.0), (3, 0.0), (4, 0.0), (1, 0.0)):
        memory.get(key, lambda key=key: asked.append(key))
        clock.now += seconds
    assert asked == [1, 2, 1, 3, 4]


def test_an_old_failure_takes_no_newer_answer_away() -> None:
    """A look-up that takes so long that another was begun meanwhile is about itself alone."""
    clock = Clock()
    memory: SingleFlightCache[int] = SingleFlightCache(ConcurrencyLimiter(2), seconds=2.0, clock=clock)

    def fail_late() -> int:
        clock.now += 3.0
        assert memory.get("a", lambda: 7) == 7
        raise OSError("away")

    with pytest.raises(OSError, match="away"):
        memory.get("a", fail_late)
    assert memory.get("a", lambda: 8) == 7


def test_those_who_ask_at_the_same_time_share_one_look_up() -> None:
    """A burst from one address costs one call."""
    asked: list[int] = []
    began, go_on = threading.Event(), threading.Event()
    memory: SingleFlightCache[int] = SingleFlightCache(ConcurrencyLimiter(8), seconds=2.0, clock=Clock())

    def look_up() -> int:
        asked.append(1)
        began.set()
        assert go_on.wait(20)
        return 7

    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(memory.get("a", look_up))) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert began.wait(20)
    go_on.set()
    for thread in threads:
        thread.join()
    assert (found, asked) == ([7] * 8, [1])
