"""Request bodies: objects, patches and delete options, and the API server's errors about them.

See https://kubernetes.io/docs/reference/using-api/api-concepts/#field-validation.
"""

from collections.abc import Callable
from typing import Any

from devcluster.errors import (
    ApiError,
    bad_request,
    entity_too_large,
    invalid_options,
    no_protobuf,
    quote,
    unsupported_media_type,
)
from devcluster.http.messages import JSON, Request, encode
from devcluster.http.routing import Route
from devcluster.kinds import KINDS, Kind
from devcluster.objects import Object, clone, metadata_of
from devcluster.patch import apply_json_patch, apply_merge_patch
from devcluster.strategic import apply_strategic_patch
from devcluster.validation.fields import invalid, not_supported
from devcluster.validation.schema import DecodeError, decode, json_type

_PROTOBUF = "application/vnd.kubernetes.protobuf"
_JSON_PATCH = "application/json-patch+json"
_MERGE_PATCH = "application/merge-patch+json"
_STRATEGIC_PATCH = "application/strategic-merge-patch+json"
_DIRECTIVES = ("", "Ignore", "Strict", "Warn")
_PROPAGATIONS = ("Foreground", "Background", "Orphan", "nil")
_SUMMARY_LENGTH = 30

Warnings = list[str]


def _directive(request: Request, options: str) -> str:
    """Return how to treat unknown fields: Ignore, Warn (the default) or Strict."""
    value = request.query.get("fieldValidation", "")
    if value not in _DIRECTIVES:
        raise invalid_options(options, [not_supported("fieldValidation", value, _DIRECTIVES)])
    return value or "Warn"


def read_object(request: Request, route: Route, options: str, warnings: Warnings) -> Object:
    """Return the object in the body of a POST or PUT.

    Args:
        request: The request.
        route: Where to store the object; its kind and namespace must match.
        options: The name of the operation's options, for messages.
        warnings: Receives the warnings for the client.

    Raises:
        ApiError: 400 or 415, it cannot be parsed or does not match the path.
    """
    kind, directive = route.kind, _directive(request, options)
    if request.content_type == _PROTOBUF:
        raise no_protobuf()
    if request.content_type != JSON:
        raise unsupported_media_type([JSON])
    body = _parse_object(request, kind)
    named = body.get("kind") or kind.kind
    version = body.get("apiVersion") or kind.api_version
    _check_type(kind, version, named)
    body = {**body, "kind": kind.kind, "apiVersion": kind.api_version}
    try:
        obj, unknown = decode(kind, body)
    except DecodeError as error:
        raise bad_request(f'{named} in version "{kind.version}" cannot be handled as a {kind.kind}: {error}') from None
    errors = [f"unknown field {quote(path)}" for path in unknown]
    if errors and directive == "Strict":
        message = f"strict decoding error: {', '.join(errors)}"
        raise bad_request(f'{named} in version "{kind.version}" cannot be handled as a {kind.kind}: {message}')
    if directive == "Warn":
        warnings += errors
    _check_namespace(route, obj)
    return obj


def _parse_object(request: Request, kind: Kind) -> Object:
    unrecognized = f"the object provided is unrecognized (must be of type {kind.kind}): "
    try:
        body = request.json()
    except ValueError as error:
        message = f"couldn't get version/kind; json parse error: {error}"
        raise bad_request(f"{unrecognized}{message} ({_summary(request.body)})") from None
    if not isinstance(body, dict):
        message = f"json: cannot unmarshal {json_type(body)} into Go value of type struct"
        message = f"couldn't get version/kind; json parse error: {message}"
        raise bad_request(f"{unrecognized}{message} ({_summary(request.body)})")
    return body


def _summary(body: bytes) -> str:
    if not body:
        return "<empty>"
    shown = body[:_SUMMARY_LENGTH]
    text = shown.decode("utf-8", "replace") if body.startswith(b"{") else shown.hex()
    return f"{text} ..." if len(body) > _SUMMARY_LENGTH else text


def _check_type(kind: Kind, api_version: Any, named: Any) -> None:
    if api_version == kind.api_version and named == kind.kind:
        return
    version = str(api_version).rpartition("/")[2]
    if any((other.api_version, other.kind) == (api_version, named) for other in KINDS):
        internal = kind.group.partition(".")[0] or "core"
        message = f"converting ({version}.{named}) to ({internal}.{kind.kind}): unknown conversion"
    else:
        message = f"no kind {quote(str(named))} is registered for version {quote(str(api_version))}"
    raise bad_request(f'{named} in version "{version}" cannot be handled as a {kind.kind}: {message}')


def _check_namespace(route: Route, obj: Object) -> None:
    metadata = obj.setdefault("metadata", {})
    if not route.kind.namespaced:
        metadata.pop("namespace", None)
    wanted = route.namespace or ""
    given = metadata.get("namespace", "")
    if given and given != wanted:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    if wanted:
        metadata["namespace"] = wanted


def check_name(route: Route, obj: Object) -> None:
    """Check that the object of a PUT has the name in its path.

    Raises:
        ApiError: 400, the names differ.
    """
    name = metadata_of(obj).get("name", "")
    if not name:
        message = f"the name of the object ({route.name} based on URL) was undeterminable: name must be provided"
        raise bad_request(message)
    if name != route.name:
        raise bad_request(f"the name of the object ({name}) does not match the name on the URL ({route.name})")


def read_patch(request: Request, route: Route, warnings: Warnings) -> Callable[[Object], Object]:
    """Return the body of a PATCH as a function from the stored object to the patched one.

    The function raises ApiError: 400 or 422, the patch does not apply, or its result is not a valid object.

    Raises:
        ApiError: 400 it cannot be parsed, 415 it is in none of the three formats.
    """
    kind, directive = route.kind, _directive(request, "PatchOptions")
    formats = (_JSON_PATCH, _MERGE_PATCH, _STRATEGIC_PATCH)
    if request.content_type not in formats:
        raise unsupported_media_type(formats)
    try:
        patch = request.json()
    except ValueError:
        raise bad_request("invalid JSON patch") from None
    if request.content_type != _JSON_PATCH and not isinstance(patch, dict):
        message = f"json: cannot unmarshal {json_type(patch)} into Go value of type map[string]interface {{}}"
        raise bad_request(f"error decoding patch: {message}")

    def change(stored: Object) -> Object:
        if request.content_type == _JSON_PATCH:
            patched = apply_json_patch(stored, patch)
        elif request.content_type == _MERGE_PATCH:
            patched = apply_merge_patch(stored, patch)
        else:
            patched = apply_strategic_patch(kind, stored, patch)
        obj = _decode_patched(kind, clone(patched), directive, warnings)
        _check_namespace(route, obj)
        check_name(route, obj)
        return obj

    return change


def _decode_patched(kind: Kind, patched: Any, directive: str, warnings: Warnings) -> Object:
    try:
        obj, unknown = decode(kind, patched)
    except DecodeError as error:
        raise _patch_error(patched, str(error)) from None
    errors = [f"unknown field {quote(path)}" for path in unknown]
    if errors and directive == "Strict":
        raise _patch_error(patched, f"strict decoding error: {', '.join(errors)}")
    if directive == "Warn":
        warnings += errors
    if (obj.get("apiVersion"), obj.get("kind")) != (kind.api_version, kind.kind):
        version, named = quote(str(obj.get("apiVersion"))), quote(str(obj.get("kind")))
        raise _patch_error(patched, f"no kind {named} is registered for version {version}")
    return obj


def _patch_error(patched: Any, message: str) -> ApiError:
    cause = invalid("patch", encode(patched).decode(), message)
    details = {"causes": [cause.to_cause()]}
    return ApiError(422, "Invalid", f' "" is invalid: {cause.field}: {cause.message}', details)


def read_delete_options(request: Request) -> Object:
    """Return the options of a DELETE: those of the body or, without a body, those of the query.

    Raises:
        ApiError: 400 or 422, the options are invalid.
    """
    if request.body:
        try:
            options = request.json()
        except ValueError as error:
            raise bad_request(f"couldn't get version/kind; json parse error: {error}") from None
        if not isinstance(options, dict):
            raise bad_request("decoded object cannot be converted to DeleteOptions")
        if options.get("kind", "DeleteOptions") != "DeleteOptions":
            version = quote(str(options.get("apiVersion", "")))
            raise bad_request(f"no kind {quote(str(options['kind']))} is registered for version {version}")
    else:
        options = {
            "gracePeriodSeconds": request.number("gracePeriodSeconds"),
            "propagationPolicy": request.query.get("propagationPolicy") or None,
            "dryRun": [request.query["dryRun"]] if request.query.get("dryRun") else None,
        }
        if "orphanDependents" in request.query:
            options["orphanDependents"] = request.flag("orphanDependents")
    _check_delete_options(options)
    return options


def _check_delete_options(options: Object) -> None:
    policy, orphan = options.get("propagationPolicy"), options.get("orphanDependents")
    if policy is not None and orphan is not None:
        message = "orphanDependents and deletionPropagation cannot be both set"
        raise invalid_options("DeleteOptions", [invalid("propagationPolicy", policy, message)])
    if policy is not None and policy not in _PROPAGATIONS[:3]:
        raise invalid_options("DeleteOptions", [not_supported("propagationPolicy", policy, _PROPAGATIONS)])
    unfit = "json: cannot unmarshal value into Go struct field DeleteOptions."
    grace = options.get("gracePeriodSeconds")
    if grace is not None and (isinstance(grace, bool) or not isinstance(grace, int)):
        raise bad_request(f"{unfit}gracePeriodSeconds of type int64".replace("value", json_type(grace), 1))
    preconditions = options.get("preconditions") or {}
    if not isinstance(preconditions, dict):
        raise bad_request(f"{unfit}preconditions of type v1.Preconditions")
    for field in ("uid", "resourceVersion"):
        if not isinstance(preconditions.get(field) or "", str):
            raise bad_request(f"{unfit}preconditions.{field} of type string")
    if not isinstance(options.get("dryRun") or [], list):
        raise bad_request(f"{unfit}dryRun of type []string")


def check_size(length: int, limit: int) -> None:
    """Check that a body is within the limit.

    Raises:
        ApiError: 413, it is too large.
    """
    if length > limit:
        raise entity_too_large(limit)
