"""The errors of a Kubernetes API server, with its exact wording.

Codes, reasons and messages follow `k8s.io/apimachinery/pkg/api/errors` and `.../util/validation/field`, because clients
branch on the code and the reason, and people search for the message.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from devcluster.kinds import Kind

_MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def quote(text: str) -> str:
    """Return a string in double quotes, as in the server's messages."""
    return json.dumps(text, ensure_ascii=False)


@dataclass(frozen=True)
class Cause:
    """One invalid field: a `metav1.StatusCause`."""

    reason: str  # such as FieldValueInvalid
    message: str  # without the field's name
    field: str  # such as spec.template.spec.containers[0].image

    def to_cause(self) -> dict[str, str]:
        """Return the JSON form; empty fields are left out."""
        parts = {"reason": self.reason, "message": self.message, "field": self.field}
        return {key: value for key, value in parts.items() if value}


@dataclass
class ApiError(Exception):
    """A refusal by the API server.

    `details` is the `metav1.StatusDetails` object; None leaves it out of the response.
    """

    status: int
    reason: str
    message: str
    details: dict[str, Any] | None = field(default=None)

    def __str__(self) -> str:
        return f"{self.status} {self.reason}: {self.message}"

    @property
    def causes(self) -> list[dict[str, str]]:
        """The invalid fields, as `metav1.StatusCause` objects."""
        return list((self.details or {}).get("causes", ()))

    def to_status(self) -> dict[str, Any]:
        """Return the `metav1.Status` object of the response."""
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        if self.details is not None:
            status["details"] = self.details
        status["code"] = self.status
        return status


def _resource_details(kind: Kind, name: str) -> dict[str, Any]:
    parts = {"name": name, "group": kind.group, "kind": kind.plural}
    return {key: value for key, value in parts.items() if value}


def not_found(kind: Kind, name: str) -> ApiError:
    """Return the error for an object that does not exist."""
    message = f"{kind.resource} {quote(name)} not found"
    return ApiError(404, "NotFound", message, _resource_details(kind, name))


def not_served() -> ApiError:
    """Return the error for a path or a kind that this server does not have."""
    return ApiError(404, "NotFound", "the server could not find the requested resource", {})


def no_such_path() -> ApiError:
    """Return the error for a path outside of the API; the server sends it as plain text."""
    return ApiError(404, "", "404 page not found")


def already_exists(kind: Kind, name: str, *, generated: bool = False) -> ApiError:
    """Return the error for a name that is in use; `generated`: the name was made from `generateName`."""
    message = f"{kind.resource} {quote(name)} already exists"
    if generated:
        message += ", the server was not able to generate a unique name for the object"
    return ApiError(409, "AlreadyExists", message, _resource_details(kind, name))


def conflict(kind: Kind, name: str, message: str = _MODIFIED) -> ApiError:
    """Return the error for an object that is not in the state that a write requires.

    The default message is that of the optimistic lock on resourceVersion.
    """
    message = f"Operation cannot be fulfilled on {kind.resource} {quote(name)}: {message}"
    return ApiError(409, "Conflict", message, _resource_details(kind, name))


def named_conflict(kind: Kind, name: str, message: str) -> ApiError:
    """Return the error for a referenced object that is not the expected one.

    Here the server names the kind instead of the resource, and names it twice.
    """
    message = f"Operation cannot be fulfilled on {kind.kind} {quote(name)}: {message}"
    return ApiError(409, "Conflict", message, {"name": name, "kind": kind.kind})


def precondition_failed(kind: Kind, name: str, message: str) -> ApiError:
    """Return the error for a failed precondition of a DELETE; the server names the kind, not the resource."""
    message = f"Operation cannot be fulfilled on {kind.qualified} {quote(name)}: {message}"
    return ApiError(409, "Conflict", message, {**_resource_details(kind, name), "kind": kind.kind})


def invalid(kind: Kind, name: str, causes: Sequence[Cause]) -> ApiError:
    """Return the error for a well-formed object that violates the rules of its kind."""
    messages = list(dict.fromkeys(f"{cause.field}: {cause.message}" for cause in causes))
    listed = messages[0] if len(messages) == 1 else f"[{', '.join(messages)}]"
    parts = {"name": name, "group": kind.group, "kind": kind.kind, "causes": [cause.to_cause() for cause in causes]}
    details = {key: value for key, value in parts.items() if value}
    return ApiError(422, "Invalid", f"{kind.qualified} {quote(name)} is invalid: {listed}", details)


def version_required(kind: Kind, name: str) -> ApiError:
    """Return the error for a PUT without the resourceVersion that its kind requires.

    Here the server names the resource, not the kind.
    """
    field, message = "metadata.resourceVersion", "Invalid value: 0: must be specified for an update"
    details = {**_resource_details(kind, name), "causes": [Cause("FieldValueInvalid", message, field).to_cause()]}
    return ApiError(422, "Invalid", f"{kind.resource} {quote(name)} is invalid: {field}: {message}", details)


def forbidden(kind: Kind, name: str, message: str) -> ApiError:
    """Return the error for an action that a policy forbids."""
    message = f"{kind.resource} {quote(name)} is forbidden: {message}"
    return ApiError(403, "Forbidden", message, _resource_details(kind, name))


def bad_request(message: str) -> ApiError:
    """Return the error for a request that cannot be parsed."""
    return ApiError(400, "BadRequest", message)


def expired(message: str) -> ApiError:
    """Return the error for a request that needs forgotten history; the client must list again."""
    return ApiError(410, "Expired", message)


def too_large_version(asked: int, current: int) -> ApiError:
    """Return the error for a list at a resourceVersion that the server has not reached."""
    cause = Cause("ResourceVersionTooLarge", "Too large resource version", "")
    details = {"causes": [cause.to_cause()], "retryAfterSeconds": 1}
    message = f"Timeout: Too large resource version: {asked}, current: {current}"
    return ApiError(504, "Timeout", message, details)


def method_not_allowed() -> ApiError:
    """Return the error for a path that does not support the HTTP method."""
    message = "the server does not allow this method on the requested resource"
    return ApiError(405, "MethodNotAllowed", message, {})


def not_acceptable(accepted: Sequence[str]) -> ApiError:
    """Return the error for an Accept header without a media type that the server can produce."""
    message = f"only the following media types are accepted: {', '.join(accepted)}"
    return ApiError(406, "NotAcceptable", message)


def unsupported_media_type(accepted: Sequence[str]) -> ApiError:
    """Return the error for a body with a Content-Type that the server does not accept here."""
    types = ", ".join(accepted)
    message = f"the body of the request was in an unknown format - accepted media types include: {types}"
    return ApiError(415, "UnsupportedMediaType", message)


def no_protobuf() -> ApiError:
    """Return the error for a body in Protobuf, which Kubernetes reads and this server does not."""
    message = (
        "the embedded cluster reads JSON only, and kubectl has sent Protobuf, as `kubectl create KIND` does: "
        "use `kubectl create ... --dry-run=client -o json | kubectl create -f -`"
    )
    return ApiError(415, "UnsupportedMediaType", message)


def entity_too_large(limit_bytes: int) -> ApiError:
    """Return the error for a body over the server's limit."""
    message = f"Request entity too large: limit is {limit_bytes}"
    return ApiError(413, "RequestEntityTooLarge", message)


def unprocessable() -> ApiError:
    """Return the error for a JSON patch that cannot be applied to the object; the server gives no reason."""
    return ApiError(422, "Invalid", "the server rejected our request due to an error in our request", {})


def internal_error(message: str) -> ApiError:
    """Return the error for a failure of the server itself."""
    details = {"causes": [{"message": message}]}
    return ApiError(500, "InternalError", f"Internal error occurred: {message}", details)


def unclassified(message: str) -> ApiError:
    """Return the error for an invalid request that has no reason of its own; the API server uses status 500."""
    return ApiError(500, "", message)


def invalid_options(kind: str, causes: Sequence[Cause]) -> ApiError:
    """Return the error for invalid request parameters; `kind` is that of the options, such as ListOptions."""
    messages = ", ".join(f"{cause.field}: {cause.message}" for cause in causes)
    listed = messages if len(causes) == 1 else f"[{messages}]"
    details = {"group": "meta.k8s.io", "kind": kind, "causes": [cause.to_cause() for cause in causes]}
    return ApiError(422, "Invalid", f'{kind}.meta.k8s.io "" is invalid: {listed}', details)
