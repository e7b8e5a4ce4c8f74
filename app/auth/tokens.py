"""Reads ServiceAccount tokens: what the token itself tells, and what a TokenReview says about it.

https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/ and
https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-review-v1/
"""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from app.common.errors import ErrorKind, ServiceError

_MAX_LENGTH = 8192
"""In characters: the longest header field that gunicorn accepts."""

_BEARER_ANYWHERE = re.compile(r"(?:^|[\s,])bearer(?:$|[\s,])", re.IGNORECASE)

# RFC 6750, section 2.1, restricted to a JWS in compact form (RFC 7515, section 7.1).
_BEARER = re.compile(r"bearer +([\w-]+\.([\w-]+)\.[\w-]+)", re.IGNORECASE | re.ASCII)

_ACCOUNT = re.compile(r"system:serviceaccount:([^:]+):([^:]+)")


class InvalidTokenError(ServiceError):
    """The request's token is malformed or expired, or the API server does not accept it."""

    kind = ErrorKind.UNAUTHENTICATED
    detail = "the token is not valid"


@dataclass(frozen=True, slots=True)
class Account:
    """A ServiceAccount.

    Attributes:
        namespace: its namespace.
        name: its name.
    """

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}:{self.name}"


def read_token(authorization: str | None, now: float) -> str | None:
    """Return the bearer token of a request. Refuses malformed and expired tokens here, at no call to the API server.

    Args:
        authorization: the `Authorization` header; if it was sent several times, its values are joined by commas.
        now: seconds since the epoch.

    Returns:
        The token, which may be valid; `None` if the header names no bearer token.

    Raises:
        InvalidTokenError: the token does not have the form of a ServiceAccount token, has expired, or is one of
            several.
    """
    text = (authorization or "").strip(" \t")
    if not _BEARER_ANYWHERE.search(text):
        return None
    found = _BEARER.fullmatch(text)
    if found is None or len(text) > _MAX_LENGTH:
        raise InvalidTokenError("not in the form of a ServiceAccount token")
    expires = _read_claims(found[2]).get("exp", float("inf"))  # tokens made before Kubernetes 1.24 may have no expiry
    if not isinstance(expires, int | float):
        raise InvalidTokenError("not in the form of a ServiceAccount token")
    if expires <= now:
        raise InvalidTokenError("the token has expired")
    return found[1]


def _read_claims(part: str) -> Mapping[str, Any]:
    try:
        text = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
        claims = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidTokenError("the token has no readable claims") from error
    if not isinstance(claims, dict):
        raise InvalidTokenError("the token has no readable claims")
    return claims


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def read_token_review(status: Mapping[str, Any], audience: str) -> Account | None:
    """Return the ServiceAccount that a TokenReview names.

    Args:
        status: the status of the TokenReview that the API server returned.
        audience: the audience that was asked for. A status without it comes from a server that does not check
            audiences, so it proves nothing.

    Returns:
        The ServiceAccount; `None` if the token belongs to another kind of user.

    Raises:
        InvalidTokenError: the API server does not accept the token, or the token is for another audience.
    """
    if status.get("authenticated") is not True or audience not in (status.get("audiences") or ()):
        raise InvalidTokenError("the API server does not accept the token")
    found = _ACCOUNT.fullmatch(str((status.get("user") or {}).get("username") or ""))
    return Account(found[1], found[2]) if found else None
