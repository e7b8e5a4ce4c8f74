"""SubjectAccessReview: may this user do that? Decided by the stored Roles and bindings, and never stored itself.

Follows `k8s.io/kubernetes/pkg/registry/authorization/subjectaccessreview` and `.../plugin/pkg/auth/authorizer/rbac`.
Only resources are decided on: for other URLs the answer is no.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from devcluster.errors import ApiError, invalid, quote
from devcluster.http import bodies
from devcluster.http.messages import Request
from devcluster.http.routing import Route
from devcluster.kinds import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING
from devcluster.objects import Object
from devcluster.store import Store
from devcluster.validation.fields import invalid as invalid_value

_ALL = "*"
_MASTERS = "system:masters"


def review_access(store: Store, request: Request, route: Route, warnings: bodies.Warnings) -> Object:
    """Respond to a SubjectAccessReview.

    Raises:
        ApiError: 400 or 422, it is malformed.
    """
    review = bodies.read_object(request, route, "CreateOptions", warnings)
    request.dry_run("CreateOptions")
    spec = review.get("spec") or {}
    causes = []
    if bool(spec.get("resourceAttributes")) == bool(spec.get("nonResourceAttributes")):
        message = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        causes.append(invalid_value("spec", spec.get("resourceAttributes"), message))
    if not spec.get("user") and not spec.get("groups"):
        causes.append(
            invalid_value("spec.user", spec.get("user", ""), "at least one of user or group must be specified")
        )
    if causes:
        raise invalid(replace(route.kind, kind=""), "", causes)
    for given in ("resourceAttributes", "nonResourceAttributes"):
        if given in spec:
            spec[given] = {key: value for key, value in spec[given].items() if value != ""}
    return {**review, "spec": spec, "status": _decide(store, spec)}


def _decide(store: Store, spec: Object) -> Object:
    if _MASTERS in (spec.get("groups") or ()):
        return {"allowed": True}
    attributes = spec.get("resourceAttributes")
    missing: list[str] = []
    if attributes:
        for binding, subject in _bindings_of(store, spec, attributes.get("namespace", "")):
            try:
                rules = _rules_of(store, binding)
            except ApiError:  # a binding may name a role that does not exist
                named = binding["roleRef"]
                missing.append(f"{named['kind'].lower()}.{ROLE.group} {quote(named['name'])} not found")
                continue
            if any(_covers(rule, attributes) for rule in rules):
                return {"allowed": True, "reason": _describe(binding, subject)}
    if missing:
        listed = missing[0] if len(missing) == 1 else f"[{', '.join(missing)}]"
        return {"allowed": False, "reason": f"rbac: RBAC: {listed}"}
    return {"allowed": False}


def _bindings_of(store: Store, spec: Object, namespace: str) -> Iterator[tuple[Object, Object]]:
    bindings, _ = store.list(CLUSTER_ROLE_BINDING, None)
    if namespace:
        bindings = bindings + store.list(ROLE_BINDING, namespace)[0]
    for binding in bindings:
        for subject in binding.get("subjects") or ():
            if _is_subject(subject, spec, binding["metadata"].get("namespace", "")):
                yield binding, subject
                break


def _is_subject(subject: Object, spec: Object, namespace: str) -> bool:
    match subject["kind"]:
        case "User":
            return bool(spec.get("user") == subject["name"])
        case "Group":
            return subject["name"] in (spec.get("groups") or ())
        case "ServiceAccount":
            account = f"system:serviceaccount:{subject.get('namespace') or namespace}:{subject['name']}"
            return bool(spec.get("user") == account)
        case _:
            return False


def _rules_of(store: Store, binding: Object) -> list[Any]:
    named = binding["roleRef"]
    if named["kind"] == "Role":
        role = store.get(ROLE, binding["metadata"].get("namespace"), named["name"])
    else:
        role = store.get(CLUSTER_ROLE, None, named["name"])
    return list(role.get("rules") or ())


def _covers(rule: Object, attributes: Object) -> bool:
    resource, subresource = attributes.get("resource", ""), attributes.get("subresource", "")
    combined = f"{resource}/{subresource}" if subresource else resource
    resources = rule.get("resources") or ()
    names = rule.get("resourceNames") or ()
    return (
        _has(rule.get("verbs") or (), attributes.get("verb", ""))
        and _has(rule.get("apiGroups") or (), attributes.get("group", ""))
        and (_has(resources, combined) or (bool(subresource) and f"*/{subresource}" in resources))
        and (not names or attributes.get("name", "") in names)
    )


def _has(allowed: Any, value: str) -> bool:
    return _ALL in allowed or value in allowed


def _describe(binding: Object, subject: Object) -> str:
    own, role = binding["metadata"], binding["roleRef"]
    namespace = own.get("namespace")
    kind, name = ("RoleBinding", f"{own['name']}/{namespace}") if namespace else ("ClusterRoleBinding", own["name"])
    who = quote(f"{subject['name']}/{subject.get('namespace') or namespace}" if subject["kind"] == "ServiceAccount"
                else subject["name"])  # fmt: skip
    return f"RBAC: allowed by {kind} {quote(name)} of {role['kind']} {quote(role['name'])} to {subject['kind']} {who}"
