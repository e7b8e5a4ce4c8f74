"""SubjectAccessReview, and the Roles and bindings that it is decided by."""

from typing import Any

import pytest

from tests.parity.conftest import COMPARES, Compare
from tests.parity.sides import Json, Session
from tests.parity.steps import Step, call, create
from tests.support.waiting import until

pytestmark = COMPARES

RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces/$NS"
ROLES, BINDINGS = f"{RBAC}/roles", f"{RBAC}/rolebindings"
REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
ACCOUNT = "system:serviceaccount:$NS:$NAME"


def role(*rules: Json) -> Step:
    return create(ROLES, {"metadata": {"name": "$NAME"}, "rules": list(rules)})


def rule(verbs: list[str], resources: list[str], *names: str, groups: tuple[str, ...] = ("slimfaas.dev",)) -> Json:
    named = {"resourceNames": list(names)} if names else {}
    return {"apiGroups": list(groups), "resources": resources, **named, "verbs": verbs}


def bind(kind: str, name: str, role_name: str = "$NAME", **fields: Any) -> Step:
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role_name}
    return create(
        BINDINGS,
        {"metadata": {"name": "$NAME"}, "roleRef": reference, "subjects": [{"kind": kind, "name": name, **fields}]},
    )


def ask(user: Json, **attributes: Any) -> Step:
    """Ask once the real API server has seen the binding, which it learns by a watch."""
    given = {"namespace": "$NS", "group": "slimfaas.dev", "resource": "jobs", "name": "fibonacci", **attributes}
    body = {"spec": {**user, "resourceAttributes": given}}

    def step(session: Session) -> None:
        until(lambda: session.request("POST", REVIEWS, body, record=False).body["status"]["allowed"])
        session.request("POST", REVIEWS, body)

    return step


def ask_once(user: Json, **attributes: Any) -> Step:
    given = {"namespace": "$NS", "group": "slimfaas.dev", "resource": "jobs", "name": "fibonacci", **attributes}
    return call("POST", REVIEWS, {"spec": {**user, "resourceAttributes": given}})


JANE = {"user": "$NAME", "groups": ["$NAME-group"]}
START = rule(["create"], ["jobs"], "fibonacci")
"""What `start-fibonacci` permits."""

CASES: dict[str, list[Step]] = {
    "nothing bound": [ask_once(JANE, verb="create")],
    "a user": [role(START), bind("User", "$NAME"), ask(JANE, verb="create")],
    "a group": [role(START), bind("Group", "$NAME-group"), ask(JANE, verb="create")],
    "an account": [
        role(START),
        bind("ServiceAccount", "$NAME", namespace="$NS"),
        ask({"user": ACCOUNT}, verb="create"),
    ],
    "another verb": [role(START), bind("User", "$NAME"), ask(JANE, verb="create"), ask_once(JANE, verb="delete")],
    "another name": [
        role(START),
        bind("User", "$NAME"),
        ask(JANE, verb="create"),
        ask_once(JANE, verb="create", name="other"),
    ],
    "no name": [role(START), bind("User", "$NAME"), ask(JANE, verb="create"), ask_once(JANE, verb="create", name="")],
    "another group": [
        role(START),
        bind("User", "$NAME"),
        ask(JANE, verb="create"),
        ask_once(JANE, verb="create", group="batch"),
    ],
    "another user": [
        role(START),
        bind("User", "$NAME"),
        ask(JANE, verb="create"),
        ask_once({"user": "john"}, verb="create"),
    ],
    "another namespace": [
        role(START),
        bind("User", "$NAME"),
        ask(JANE, verb="create"),
        ask_once(JANE, verb="create", namespace="kube-public"),
    ],
    "a subresource": [
        role(rule(["get"], ["jobs/log"])),
        bind("User", "$NAME"),
        ask(JANE, verb="get", subresource="log"),
        ask_once(JANE, verb="get"),
        ask_once(JANE, verb="get", subresource="status"),
    ],
    "any resource's subresource": [
        role(rule(["get"], ["*/log"])),
        bind("User", "$NAME"),
        ask(JANE, verb="get", subresource="log"),
        ask_once(JANE, verb="get"),
    ],
    "everything": [
        role(rule(["*"], ["*"], groups=("*",))),
        bind("User", "$NAME"),
        ask(JANE, verb="delete"),
        ask_once(JANE, verb="get", subresource="log"),
    ],
    "a missing role": [bind("User", "$NAME", "missing"), ask_once(JANE, verb="create")],
    "an administrator": [ask_once({"user": "x", "groups": ["system:masters"]}, verb="create")],
    "extra and uid": [
        role(START),
        bind("User", "$NAME"),
        ask({"user": "$NAME", "uid": "1", "extra": {"example.com/a": ["b"]}}, verb="create"),
    ],
    "nobody": [ask_once({}, verb="create")],
    "nothing asked": [call("POST", REVIEWS, {"spec": {"user": "$NAME"}})],
    "both asked": [ask_once({"user": "$NAME", "nonResourceAttributes": {"path": "/x", "verb": "get"}}, verb="create")],
    "no spec": [call("POST", REVIEWS, {})],
    "other methods": [call(method, REVIEWS) for method in ("GET", "PUT", "PATCH", "DELETE")],
    "one by name": [call("GET", f"{REVIEWS}/x")],
}


@pytest.mark.parametrize("steps", CASES.values(), ids=CASES)
def test_access_review__has_the_same_result(compare: Compare, steps: list[Step]) -> None:
    compare(*steps)
