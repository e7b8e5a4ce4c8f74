"""ServiceAccounts' tokens: what can be told of one without asking, and what a TokenReview says of it.

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

_LONGEST = 8192
"""Characters: what fits into a header of gunicorn's."""

_BEARER_SOMEWHERE = re.compile(r"(?:^|[\s,])bearer(?:$|[\s,])", re.IGNORECASE)

# RFC 6750, section 2.1, and of its characters those of a JWS in its compact form (RFC 7515, section 7.1).
_BEARER = re.compile(r"bearer +([\w-]+\.([\w-]+)\.[\w-]+)", re.IGNORECASE | re.ASCII)

_ACCOUNT = re.compile(r"system:serviceaccount:([^:]+):([^:]+)")


class InvalidTokenError(ServiceError):
    """A call carries a token that is none, or that the API server does not accept."""

    kind = ErrorKind.UNAUTHENTICATED
    detail = "the token is not valid"


@dataclass(frozen=True, slots=True)
class Account:
    """A ServiceAccount.

    Attributes:
        namespace: where it is.
        name: of it.
    """

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}:{self.name}"


def read_token(authorization: str | None, now: float) -> str | None:
    """The bearer token of a call, if it may be good; rubbish is told apart here, so that it costs no call.

    Args:
        authorization: the `Authorization` header; the values of one that was sent several times are joined by commas.
        now: seconds since the epoch.

    Returns:
        The token; `None` where the header speaks of none.

    Raises:
        InvalidTokenError: it is no token of the form that ServiceAccounts have, or it has expired, or there are more
            than one.
    """
    text = (authorization or "").strip(" \t")
    if not _BEARER_SOMEWHERE.search(text):
        return None
    found = _BEARER.fullmatch(text)
    if found is None or len(text) > _LONGEST:
        raise InvalidTokenError("no token of the form that ServiceAccounts have")
    expires = _claims_in(found[2]).get("exp", float("inf"))  # tokens from before Kubernetes 1.24 may have none
    if not isinstance(expires, int | float):
        raise InvalidTokenError("no token of the form that ServiceAccounts have")
    if expires <= now:
        raise InvalidTokenError("expired")
    return found[1]


def _claims_in(part: str) -> Mapping[str, Any]:
    try:
        text = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
        claims = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidTokenError("no claims") from error
    if not isinstance(claims, dict):
        raise InvalidTokenError("no claims")
    return claims


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def judge_review(status: Mapping[str, Any], audience: str) -> Account | None:
    """Whose token a TokenReview was about.

    Args:
        status: of the TokenReview that the API server has answered with.
        audience: for which it was asked; an answer without it comes from a server that has not looked at audiences, and
            means nothing.

    Returns:
        The ServiceAccount; `None`: the token is somebody else's.

    Raises:
        InvalidTokenError: the API server does not accept the token, or it is meant for others.
    """
    if status.get("authenticated") is not True or audience not in (status.get("audiences") or ()):
        raise InvalidTokenError("not accepted")
    found = _ACCOUNT.fullmatch(str((status.get("user") or {}).get("username") or ""))
    return Account(found[1], found[2]) if found else None
