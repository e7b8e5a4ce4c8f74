"""TokenRequest and TokenReview: issuing a token for a ServiceAccount, and verifying a token.

Neither is stored: the response is the request's object, filled in. See
https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/ and, for the order of the checks,
`k8s.io/kubernetes/pkg/registry/core/serviceaccount/storage/token.go` and `.../authentication/tokenreview`.
"""

import time
from datetime import UTC, datetime

from devcluster.errors import ApiError, bad_request, invalid, named_conflict, quote
from devcluster.http import bodies
from devcluster.http.messages import Request
from devcluster.http.routing import Route
from devcluster.kinds import NODE, POD, SECRET, SERVICE_ACCOUNT, TOKEN_REQUEST, Kind
from devcluster.objects import Object, now, to_time
from devcluster.store import Store
from devcluster.tokens import AUDIENCE, TokenAuthority, TokenError, check_time, common_audiences
from devcluster.validation.fields import invalid as invalid_value

_LIFETIME_SECONDS = 3600
_SHORTEST_SECONDS, _LONGEST_SECONDS = 600, 2**32
_BINDABLE = {"Pod": POD, "Node": NODE, "Secret": SECRET}
_ANONYMOUS = {"username": "system:anonymous", "groups": ["system:unauthenticated"]}
_USER_EXTRA = "authentication.kubernetes.io"


def request_token(
    store: Store, authority: TokenAuthority, request: Request, route: Route, warnings: bodies.Warnings
) -> Object:
    """Respond to a TokenRequest for the ServiceAccount in the path.

    Raises:
        ApiError: 400 or 422 invalid, 404 the account or bound object does not exist, 409 the latter has another uid.
    """
    assert route.name is not None
    asked = bodies.read_object(request, Route(TOKEN_REQUEST, route.namespace), "CreateOptions", warnings)
    metadata = asked["metadata"]
    request.dry_run("CreateOptions")
    if metadata.get("name", route.name) != route.name:
        message = "must match the service account name if specified"
        raise invalid(TOKEN_REQUEST, route.name, [invalid_value("metadata.name", metadata["name"], message)])
    account = store.get(SERVICE_ACCOUNT, route.namespace, route.name)
    own = account["metadata"]
    spec = asked.get("spec") or {}
    seconds = spec.get("expirationSeconds", _LIFETIME_SECONDS)
    _check_lifetime(seconds)
    audiences = spec.get("audiences") or [AUDIENCE]
    bound = spec.get("boundObjectRef")
    claims = None if bound is None else _bind(store, account, bound)
    moment = int(time.time())
    return {
        **asked,
        "metadata": {**metadata, "name": own["name"], "namespace": own["namespace"], "uid": own["uid"],
                     "creationTimestamp": now()},
        "spec": {"audiences": audiences, "expirationSeconds": seconds, "boundObjectRef": bound},
        "status": {
            "token": authority.issue(account, audiences, moment, seconds, claims),
            "expirationTimestamp": to_time(datetime.fromtimestamp(moment + seconds, UTC)),
        },
    }  # fmt: skip


def _check_lifetime(seconds: int) -> None:
    message = ""
    if seconds < _SHORTEST_SECONDS:
        message = "may not specify a duration less than 10 minutes"
    elif seconds > _LONGEST_SECONDS:
        message = "may not specify a duration larger than 2^32 seconds"
    if message:
        raise invalid(TOKEN_REQUEST, "", [invalid_value("spec.expirationSeconds", seconds, message)])


def _bind(store: Store, account: Object, reference: Object) -> Object:
    """Return the claims that bind a token to an object; the token is invalid once the object is gone."""
    named = reference.get("kind", "")
    group, _, version = reference.get("apiVersion", "").rpartition("/")
    kind = _BINDABLE.get(named)
    if kind is None or group:
        raise bad_request(f"cannot bind token to object of type {group}/{version}, Kind={named}")
    name = reference.get("name", "")
    if not name:
        raise bad_request("Name parameter required.")
    own = account["metadata"]
    found = store.get(kind, own["namespace"] if kind.namespaced else None, name)
    if kind is POD and found["spec"].get("serviceAccountName") != own["name"]:
        owner = f"cannot bind token for serviceaccount {quote(own['name'])} to pod running with different "
        raise bad_request(f"{owner}serviceaccount name.")
    uid = found["metadata"]["uid"]
    if reference.get("uid", uid) != uid:
        message = f"the UID in the bound object reference ({reference['uid']}) does not match the UID in record. "
        raise named_conflict(kind, name, f"{message}The object might have been deleted and then recreated")
    return {named.lower(): {"name": name, "uid": uid}}


def review_token(
    store: Store, authority: TokenAuthority, request: Request, route: Route, warnings: bodies.Warnings
) -> Object:
    """Respond to a TokenReview.

    Raises:
        ApiError: 400, it is malformed or has no token.
    """
    review = bodies.read_object(request, route, "CreateOptions", warnings)
    request.dry_run("CreateOptions")
    spec = review.get("spec") or {}
    if not spec.get("token"):
        raise bad_request("token is required for TokenReview in authentication")
    wanted = spec.get("audiences") or [AUDIENCE]
    if not spec.get("audiences"):
        spec.pop("audiences", None)
    try:
        status = _authenticate(store, authority, spec["token"], wanted)
    except (TokenError, ApiError) as error:
        reason = error.message if isinstance(error, ApiError) else str(error)
        status = {"user": {}, "error": f"[invalid bearer token, {reason}]"}
    return {**review, "spec": spec, "status": status}


def _authenticate(store: Store, authority: TokenAuthority, text: str, wanted: list[str]) -> Object:
    # The API server parses the token as the rest of an Authorization header: it ignores everything after a space. With
    # a leading space there is no token, and the client is authenticated as the anonymous user.
    words = f"Bearer {text}".strip().split(" ")
    if len(words) == 1 or not words[1]:
        return {"authenticated": True, "user": _ANONYMOUS, "audiences": wanted}
    claims = authority.read(words[1])
    if claims is None:
        return {"user": {}, "error": "invalid bearer token"}
    audiences = common_audiences(claims, wanted)
    check_time(claims, time.time())
    private = claims["kubernetes.io"]
    namespace, account = private["namespace"], private["serviceaccount"]
    _check_present(store, SERVICE_ACCOUNT, namespace, account, "service account UID ({}) does not match claim ({})")
    extra = {f"{_USER_EXTRA}/credential-id": [f"JTI={claims['jti']}"]}
    for named, kind in _BINDABLE.items():
        bound = private.get(named.lower())
        if bound is None:
            continue
        message = f"{named.lower()} UID ({{}}) does not match service account {named.lower()} ref claim ({{}})"
        try:
            _check_present(store, kind, namespace if kind.namespaced else None, bound, message)
        except ApiError:
            raise TokenError("service account token has been invalidated") from None
        if kind is not SECRET:
            extra |= {f"{_USER_EXTRA}/{named.lower()}-{field}": [bound[field]] for field in ("name", "uid")}
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"]
    user = {"username": claims["sub"], "uid": account["uid"], "groups": groups, "extra": extra}
    return {"authenticated": True, "user": user, "audiences": audiences}


def _check_present(store: Store, kind: Kind, namespace: str | None, reference: Object, message: str) -> None:
    """Check that an object to which a token refers still exists with the same uid.

    Raises:
        ApiError: 404, it does not exist.
        TokenError: it has another uid.
    """
    uid = store.get(kind, namespace, reference["name"])["metadata"]["uid"]
    if uid != reference["uid"]:
        raise TokenError(message.format(uid, reference["uid"]))
