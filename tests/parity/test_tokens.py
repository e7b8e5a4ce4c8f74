"""TokenRequest, TokenReview, and default ServiceAccounts."""

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.parity.conftest import COMPARES, Compare
from tests.parity.manifests import named, pod
from tests.parity.sides import Json, Session
from tests.parity.steps import PODS, Step, call, create, delete

pytestmark = COMPARES

ACCOUNTS = "/api/v1/namespaces/$NS/serviceaccounts"
REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
API_SERVER = "https://kubernetes.default.svc.cluster.local"
ACCOUNT = create(ACCOUNTS, named())
POD = create(PODS, pod(("spec.serviceAccountName", "$NAME")))
BOUND: Json = {"kind": "Pod", "apiVersion": "v1", "name": "$NAME"}
JobChange = Callable[[str], str]

# kube-apiserver learns of a pod's end by a watch, and caches a review for 10 s.
_ENDED_SECONDS = 25.0


def ask(spec: Any = None, account: str = "$NAME", query: str = "", **fields: Any) -> Step:
    """Send a TokenRequest."""
    body = fields if spec is None else {"spec": spec, **fields}
    return call("POST", f"{ACCOUNTS}/{account}/token{query}", body)


def review(token: Any, **spec: Any) -> Step:
    """Send a TokenReview of a text."""
    return call("POST", REVIEWS, {"spec": {"token": token, **spec}})


def review_of(asked: Json, *between: Step, change: JobChange = str, **spec: Any) -> list[Step]:
    """Return steps: create an account, request a token, take steps that may invalidate it, and review it.

    `change` turns the token into the text to review.
    """

    def step(session: Session) -> None:
        token = session.request("POST", f"{ACCOUNTS}/$NAME/token", {"spec": asked}).body["status"]["token"]
        body = {"spec": {"token": change(token), **spec}}
        for one in between:
            one(session)
        deadline = time.monotonic() + _ENDED_SECONDS
        while between and time.monotonic() < deadline and _is_good(session, body):
            time.sleep(0.2)
        session.request("POST", REVIEWS, body)

    return [ACCOUNT, POD, step]


def _is_good(session: Session, body: Json) -> bool:
    return bool(session.request("POST", REVIEWS, body, record=False).body["status"].get("authenticated"))


def with_claims(token: str, **changes: Any) -> str:
    """Return the token with other claims and its old signature."""
    head, claims, signature = token.split(".")
    changed = json.loads(base64.urlsafe_b64decode(claims + "==")) | changes
    return f"{head}.{base64.urlsafe_b64encode(json.dumps(changed).encode()).decode().rstrip('=')}.{signature}"


REQUESTS: dict[str, list[Step]] = {
    "nothing said": [ACCOUNT, ask({})],
    "no spec": [ACCOUNT, ask()],
    "for two audiences": [ACCOUNT, ask({"audiences": ["a", "b"]})],
    "for none": [ACCOUNT, ask({"audiences": []})],
    "for the empty one": [ACCOUNT, ask({"audiences": [""]})],
    "for ten minutes": [ACCOUNT, ask({"expirationSeconds": 600})],
    "for 599 seconds": [ACCOUNT, ask({"expirationSeconds": 599})],
    "for 0 seconds": [ACCOUNT, ask({"expirationSeconds": 0})],
    "for 136 years": [ACCOUNT, ask({"expirationSeconds": 2**32})],
    "for 136 years and a second": [ACCOUNT, ask({"expirationSeconds": 2**32 + 1})],
    "audiences that are not a list": [ACCOUNT, ask({"audiences": "a"})],
    "a string as a number": [ACCOUNT, ask({"expirationSeconds": "x"})],
    "an unknown field": [ACCOUNT, ask({"foo": 1})],
    "an unknown field, strictly": [ACCOUNT, ask({"foo": 1}, query="?fieldValidation=Strict")],
    "a dry run": [ACCOUNT, ask({}, query="?dryRun=All")],
    "a dry run of something": [ACCOUNT, ask({}, query="?dryRun=Some")],
    "of a missing account": [ask({})],
    "of a missing account, and too short": [ask({"expirationSeconds": 1})],
    "another name": [ACCOUNT, ask({}, metadata={"name": "other"})],
    "another namespace": [ACCOUNT, ask({}, metadata={"namespace": "other"})],
    "with labels": [ACCOUNT, ask({}, metadata={"labels": {"a": "b"}})],
    "another kind": [ACCOUNT, ask(kind="Pod", apiVersion="v1")],
    "another version": [ACCOUNT, ask(kind="TokenRequest", apiVersion="v1")],
    "not JSON": [ACCOUNT, call("POST", f"{ACCOUNTS}/$NAME/token", b"{")],
    "bound to a pod": [ACCOUNT, POD, ask({"boundObjectRef": BOUND})],
    "bound to no pod": [ACCOUNT, ask({"boundObjectRef": BOUND})],
    "bound to another's pod": [POD, ask({"boundObjectRef": BOUND}, "default")],
    "bound to the pod of another account": [ACCOUNT, create(PODS, pod()), ask({"boundObjectRef": BOUND})],
    "bound to a pod of another uid": [ACCOUNT, POD, ask({"boundObjectRef": {**BOUND, "uid": "x"}})],
    "bound to a Job": [ACCOUNT, ask({"boundObjectRef": {**BOUND, "kind": "Job", "apiVersion": "batch/v1"}})],
    "bound to a missing Secret": [ACCOUNT, ask({"boundObjectRef": {**BOUND, "kind": "Secret"}})],
    "bound to something without a name": [ACCOUNT, ask({"boundObjectRef": {"kind": "Pod"}})],
    "bound to nothing": [ACCOUNT, ask({"boundObjectRef": {}})],
    "other methods": [call(method, f"{ACCOUNTS}/default/token") for method in ("GET", "PUT", "PATCH", "DELETE")],
}

JUDGEMENTS: dict[str, list[Step]] = {
    "the API server's": review_of({}),
    "the API server's, by name": review_of({}, audiences=[API_SERVER]),
    "the API server's, for another": review_of({}, audiences=["c"]),
    "another's, for the API server": review_of({"audiences": ["a", "b"]}),
    "one of two audiences": review_of({"audiences": ["a", "b"]}, audiences=["b", "c"]),
    "both, in the reviewer's order": review_of({"audiences": ["a", "b"]}, audiences=["b", "a", "b"]),
    "none of two": review_of({"audiences": ["a", "b"]}, audiences=["c", "d"]),
    "no audiences named": review_of({"audiences": ["a"]}, audiences=[]),
    "a dry run of a review": [call("POST", f"{REVIEWS}?dryRun=All", {"spec": {"token": "x"}})],
    "bound to a pod": review_of({"boundObjectRef": BOUND}),
    "bound to a pod that is gone": review_of({"boundObjectRef": BOUND}, delete(PODS, {"gracePeriodSeconds": 0})),
    "bound to a pod that came back": review_of({"boundObjectRef": BOUND}, delete(PODS, {"gracePeriodSeconds": 0}), POD),
    "of an account that is gone": review_of({}, delete(ACCOUNTS)),
    "of an account that came back": review_of({}, delete(ACCOUNTS), ACCOUNT),
    "with other claims": review_of({}, change=lambda token: with_claims(token, sub="system:serviceaccount:a:b")),
    "of another issuer": review_of({}, change=lambda token: with_claims(token, iss="https://example.com")),
    "with another signature": review_of({}, change=lambda token: token[:-8] + "AAAAAAAA"),
    "without a signature": review_of({}, change=lambda token: token.rpartition(".")[0] + "."),
    "with alg none in its header": review_of(
        {}, change=lambda token: "eyJhbGciOiJub25lIn0." + token.split(".")[1] + "."
    ),
    "two parts of it": review_of({}, change=lambda token: token.rpartition(".")[0]),
    "after a space": review_of({}, change=lambda token: f" {token}"),
    "after a space, for another": review_of({}, change=lambda token: f" {token}", audiences=["c"]),
    "before a space": review_of({}, change=lambda token: f"{token} x"),
    "before a newline": review_of({}, change=lambda token: f"{token}\n"),
    "a blank": [review(" ")],
    "a word": [review("x")],
    "a word for an audience": [review("x", audiences=["a"])],
    "three words": [review("x.y.z")],
    "text that is not ASCII": [review("ü.ü.ü")],
    "nothing": [review("")],
    "no spec": [call("POST", REVIEWS, {})],
    "a number": [review(5)],
    "an unknown field": [review("x", foo=1)],
    "a name": [call("POST", REVIEWS, {"metadata": {"name": "x"}, "spec": {"token": "x"}})],
    "a namespace": [call("POST", REVIEWS, {"metadata": {"namespace": "x"}, "spec": {"token": "x"}})],
    "a status in the request": [call("POST", REVIEWS, {"spec": {"token": "x"}, "status": {"authenticated": True}})],
    "other methods": [call(method, REVIEWS) for method in ("GET", "PUT", "PATCH", "DELETE")],
    "a watch": [call("GET", f"{REVIEWS}?watch=true")],
    "one by name": [call(method, f"{REVIEWS}/x") for method in ("GET", "POST", "DELETE")],
    "in a namespace": [call("POST", "/apis/authentication.k8s.io/v1/namespaces/$NS/tokenreviews", {})],
    "the group": [call("GET", "/apis/authentication.k8s.io")],
}

PODS_ACCOUNTS: dict[str, list[Step]] = {
    "none named": [create(PODS, pod())],
    "one that exists": [ACCOUNT, POD],
    "one by its old name": [ACCOUNT, create(PODS, pod(("spec.serviceAccount", "$NAME")))],
    "a missing account": [POD],
    "a missing account, as a dry run": [create(PODS, pod(("spec.serviceAccountName", "$NAME")), dryRun="All")],
    "an account with an invalid name": [create(PODS, pod(("spec.serviceAccountName", "A_B")))],
}


@pytest.mark.parametrize("steps", REQUESTS.values(), ids=REQUESTS)
def test_token_request__has_the_same_result(compare: Compare, steps: list[Step]) -> None:
    compare(*steps)


@pytest.mark.parametrize("steps", JUDGEMENTS.values(), ids=JUDGEMENTS)
def test_token_review__has_the_same_result(compare: Compare, steps: list[Step]) -> None:
    compare(*steps)


@pytest.mark.parametrize("steps", PODS_ACCOUNTS.values(), ids=PODS_ACCOUNTS)
def test_pod__gets_the_same_account(compare: Compare, steps: list[Step]) -> None:
    """Or is refused when the account does not exist."""
    compare(*steps)
