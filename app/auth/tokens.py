"""Reads bearer tokens, and what a TokenReview says about the token of a ServiceAccount.

https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/ and
https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-review-v1/
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.common import json_web_token
from app.common.errors import ErrorKind, ServiceError

_MAX_LENGTH = 8192
"""In characters: the longest header field that gunicorn accepts."""

_BEARER_ANYWHERE = re.compile(r"(?:^|[\s,])bearer(?:$|[\s,])", re.IGNORECASE)

# RFC 6750, section 2.1, restricted to a JWS in compact form (RFC 7515, section 7.1).
_BEARER = re.compile(r"bearer +([\w-]+\.[\w-]+\.[\w-]+)", re.IGNORECASE | re.ASCII)

# RFC 6750, section 2.1.
_ANY_BEARER = re.compile(r"bearer +([\w.~+/-]+=*)", re.IGNORECASE | re.ASCII)

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
    """Return the bearer token of a request. Malformed and expired tokens are refused without a call to the API server.

    Args:
        authorization: the `Authorization` header; if it was sent several times, its values are joined by commas.
        now: seconds since the epoch.

    Returns:
        The token, which may be valid; `None` if the header names no bearer token.

    Raises:
        InvalidTokenError: the token does not have the form of a ServiceAccount token, has expired, or is one of
            several.
    """
    token = _find_token(authorization, _BEARER, "a ServiceAccount token")
    if token is None:
        return None
    try:
        claims = json_web_token.read_claims(token)
    except ValueError as error:
        raise InvalidTokenError("the token has no readable claims") from error
    expires = claims.get("exp", float("inf"))  # tokens made before Kubernetes 1.24 may have no expiry
    if not isinstance(expires, int | float):
        raise InvalidTokenError("not in the form of a ServiceAccount token")
    _check_expiry(expires, now)
    return token


def read_any_token(authorization: str | None, now: float) -> str | None:
    """Return the bearer token of a request, of any kind. JSON Web Tokens that have expired are refused.

    Args:
        authorization: see `read_token`.
        now: seconds since the epoch.

    Returns:
        The token, which may be valid; `None` if the header names no bearer token.

    Raises:
        InvalidTokenError: the token is malformed, has expired, or is one of several.
    """
    token = _find_token(authorization, _ANY_BEARER, "a bearer token")
    if token is None:
        return None
    expires = read_claims(token).get("exp")
    if isinstance(expires, int | float):
        _check_expiry(expires, now)
    return token


def _find_token(authorization: str | None, form: re.Pattern[str], what: str) -> str | None:
    """Return the one bearer token of a header; `None` if the header names none.

    Raises:
        InvalidTokenError: the token does not have this form, or is one of several.
    """
    text = (authorization or "").strip(" \t")
    if not _BEARER_ANYWHERE.search(text):
        return None
    found = form.fullmatch(text)
    if found is None or len(text) > _MAX_LENGTH:
        raise InvalidTokenError(f"not in the form of {what}")
    return found[1]


def _check_expiry(expires: float, now: float) -> None:
    if expires <= now:
        raise InvalidTokenError("the token has expired")


def read_claims(token: str) -> Mapping[str, Any]:
    """Return the claims of a token, which are not verified; empty if it is not a JSON Web Token."""
    try:
        return json_web_token.read_claims(token)
    except ValueError:
        return {}


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
