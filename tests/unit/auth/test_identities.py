"""Which pods and tokens are trusted, from the API server's responses."""

import base64
import json
from ipaddress import ip_address
from typing import Any

import pytest

from app.auth.identities import identify_pod
from app.auth.tokens import Account, InvalidTokenError, read_token, read_token_review

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
def test_identify_pod__trusts_a_running_pod_with_its_own_address(pods: list[dict[str, Any]], trusted: bool) -> None:
    assert identify_pod(pods, AT).trusted is trusted


def jwt(claims: Any) -> str:
    head, body = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({}, claims))
    return f"{head}.{body}.c2ln"


GOOD = jwt({"exp": 200})


@pytest.mark.parametrize("header", [None, "", "Basic eDp5", "Bearers x", "Digest a=b, c=d"])
def test_read_token__returns_none_without_a_bearer_token(header: str | None) -> None:
    assert read_token(header, 100) is None


@pytest.mark.parametrize("header", [f"Bearer {GOOD}", f"bEARER   {GOOD} ", f"\tBearer {GOOD}"])
def test_read_token__ignores_case_and_space(header: str) -> None:
    """RFC 9110: schemes are case-insensitive."""
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
def test_read_token__refuses_malformed_and_expired_tokens(header: str) -> None:
    """At no call to the API server."""
    with pytest.raises(InvalidTokenError):
        read_token(header, 100)


def review(username: str = "system:serviceaccount:a:b", **changes: Any) -> dict[str, Any]:
    return {"authenticated": True, "audiences": ["jobs"], "user": {"username": username}, **changes}


@pytest.mark.parametrize(
    "status",
    [{}, review(authenticated=False), review(authenticated="true"), review(audiences=[]), review(audiences=["x"])],
)
def test_read_token_review__needs_our_audience(status: dict[str, Any]) -> None:
    """An API server that ignores audiences accepts tokens that are meant for others."""
    with pytest.raises(InvalidTokenError):
        read_token_review(status, "jobs")


def test_read_token_review__returns_none_for_other_users() -> None:
    assert read_token_review(review(), "jobs") == Account("a", "b")
    assert read_token_review(review("admin"), "jobs") is None
    assert read_token_review(review("system:anonymous"), "jobs") is None
    assert read_token_review(review("oidc:system:serviceaccount:a:b"), "jobs") is None
    assert read_token_review(review("system:serviceaccount:a:b:c"), "jobs") is None
