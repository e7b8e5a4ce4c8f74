"""Lists: their options, and pages that stay consistent while objects change.

See https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks.
"""

import base64
import json
from dataclasses import dataclass

from devcluster.errors import ApiError, Cause, bad_request, expired, invalid_options, too_large_version
from devcluster.http.messages import Request, version_cause
from devcluster.http.routing import Route
from devcluster.objects import Object, key_of, metadata_of
from devcluster.selectors import Selector, build_selector
from devcluster.store import Store
from devcluster.validation.fields import forbidden, not_supported

_MATCHES = ("Exact", "NotOlderThan")


@dataclass(frozen=True)
class ListOptions:
    """The query of a list or watch; "" and 0 mean not given."""

    selector: Selector | None
    limit: int
    continue_token: str
    resource_version: str
    resource_version_match: str


def read_options(request: Request, route: Route) -> ListOptions:
    """Parse the query of a list.

    Raises:
        ApiError: 400 or 422, it is invalid.
    """
    query = request.query
    selector = build_selector(route.kind, query.get("labelSelector"), query.get("fieldSelector"))
    options = ListOptions(
        selector=selector,
        limit=request.number("limit") or 0,
        continue_token=query.get("continue", ""),
        resource_version=query.get("resourceVersion", ""),
        resource_version_match=query.get("resourceVersionMatch", ""),
    )
    request.number("timeoutSeconds")  # only watches use it; lists still check it
    return options


def check_list_options(request: Request, options: ListOptions) -> None:
    """Check that the options of a list are compatible.

    Raises:
        ApiError: 422, they are not.
    """
    causes = _match_causes(options) if options.resource_version_match else []
    if "sendInitialEvents" in request.query:
        causes.append(forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    if causes:
        raise invalid_options("ListOptions", causes)


def _match_causes(options: ListOptions) -> list[Cause]:
    match, field, causes = options.resource_version_match, "resourceVersionMatch", []
    if not options.resource_version:
        causes.append(forbidden(field, f"{field} is forbidden unless resourceVersion is provided"))
    if options.continue_token:
        causes.append(forbidden(field, f"{field} is forbidden when continue is provided"))
    if match not in _MATCHES:
        causes.append(not_supported(field, match, ["Exact", "NotOlderThan", ""]))
    if match == "Exact" and options.resource_version == "0":
        causes.append(forbidden(field, f'{field} "exact" is forbidden for resourceVersion "0"'))
    return causes


def list_page(store: Store, route: Route, options: ListOptions) -> tuple[list[Object], Object]:
    """Return the objects of one page and the list's metadata.

    Raises:
        ApiError: 400 malformed token or version, 410 it is too old, 504 the version is in the future.
    """
    revision, start = _start(store, options)
    try:
        objects, revision = store.list(route.kind, route.namespace, revision=revision)
    except ApiError as error:
        if options.continue_token:
            raise expired(_EXPIRED) from error
        raise
    if start:
        objects = [obj for obj in objects if _key(obj) >= start]
    chosen = objects if options.selector is None else [obj for obj in objects if options.selector(obj)]
    metadata: Object = {"resourceVersion": str(revision)}
    if 0 < options.limit <= len(chosen) and chosen[options.limit - 1] is not objects[-1]:
        # Even if the selector matches none of the remaining objects: the server finds that out on the next, empty page.
        chosen = chosen[: options.limit]
        metadata["continue"] = _encode_token(revision, _key(chosen[-1]) + "\0")
        if options.selector is None:
            metadata["remainingItemCount"] = len(objects) - options.limit
    return chosen, metadata


_EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. You must start a new list "
    "without the continue parameter."
)


def _start(store: Store, options: ListOptions) -> tuple[int | None, str]:
    """Return the revision to list at (None: the present) and the key to start from."""
    if options.continue_token:
        if options.resource_version not in ("", "0"):
            raise bad_request("specifying resource version is not allowed when using continue")
        return _decode_token(options.continue_token)
    wanted = options.resource_version
    if wanted in ("", "0"):
        return None, ""
    if not (wanted.isascii() and wanted.isdigit()):
        cause = version_cause(wanted)
        raise bad_request(f"invalid resource version: {cause.field}: {cause.message}")
    revision = int(wanted)
    if revision > store.revision:
        raise too_large_version(revision, store.revision)
    exact = options.resource_version_match == "Exact" or (options.limit and not options.resource_version_match)
    return revision if exact else None, ""


def _key(obj: Object) -> str:
    metadata = metadata_of(obj)
    return key_of(metadata.get("namespace"), metadata["name"])


def _encode_token(revision: int, start: str) -> str:
    token = json.dumps({"v": "meta.k8s.io/v1", "rv": revision, "start": start}, separators=(",", ":"))
    return base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")


def _decode_token(text: str) -> tuple[int, str]:
    try:
        token = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        return int(token["rv"]), str(token["start"])
    except (ValueError, KeyError, TypeError) as error:
        raise bad_request(f"invalid continue token: continue key is not valid: {error}") from None
