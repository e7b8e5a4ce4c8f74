"""ServiceAccount tokens: issuing and verifying them.

They are JSON Web Tokens (RFC 7519) with the claims that kube-apiserver writes; see
https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#bound-service-account-tokens and
`k8s.io/kubernetes/pkg/serviceaccount`. Only this cluster verifies them, so one symmetric key, made when it starts, both
signs and verifies (HS256).
"""

import base64
import hashlib
import hmac
import json
import secrets
import uuid
from collections.abc import Sequence
from typing import Any

from devcluster.objects import Object

AUDIENCE = "https://kubernetes.default.svc.cluster.local"
"""The API server's own audience; the default of a token that names none."""
ISSUER = AUDIENCE

_LEEWAY_SECONDS = 60  # tolerated clock skew
_HEADER = {"alg": "HS256"}


class TokenError(Exception):
    """An invalid token; the message is the API server's."""


class TokenAuthority:
    """Signs and verifies the tokens of one cluster."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def issue(
        self, account: Object, audiences: Sequence[str], now: float, lifetime_seconds: int, bound: Object | None = None
    ) -> str:
        """Issue a token for a ServiceAccount.

        Args:
            account: The ServiceAccount object.
            audiences: The audiences of the token.
            now: The start of its validity, in seconds since the epoch; may lie in the past, to make an expired token.
            lifetime_seconds: How long it is valid.
            bound: Additional claims about the object it is bound to, such as `{"pod": {"name": …, "uid": …}}`.
        """
        own, issued = account["metadata"], int(now)
        identity = {"name": own["name"], "uid": own["uid"]}
        return self._sign({
            "aud": list(audiences),
            "exp": issued + lifetime_seconds,
            "iat": issued,
            "iss": ISSUER,
            "jti": str(uuid.uuid4()),
            "kubernetes.io": {"namespace": own["namespace"], **(bound or {}), "serviceaccount": identity},
            "nbf": issued,
            "sub": f"system:serviceaccount:{own['namespace']}:{own['name']}",
        })  # fmt: skip

    def read(self, token: str) -> Object | None:
        """Return the claims of a token with a valid signature; None when it is not a token of this issuer.

        Raises:
            TokenError: it names this issuer, but its signature is invalid.
        """
        parts = token.split(".")
        if len(parts) != 3:
            return None
        try:
            header, claims = (json.loads(_decode(part)) for part in parts[:2])
            signature = _decode(parts[2])
        except (ValueError, RecursionError):  # not base64, not UTF-8 or not JSON, or nested too deep
            return None
        if not isinstance(header, dict) or not isinstance(claims, dict) or claims.get("iss") != ISSUER:
            return None
        if header != _HEADER or not hmac.compare_digest(signature, self._digest(f"{parts[0]}.{parts[1]}")):
            raise TokenError("go-jose/go-jose: error in cryptographic primitive")
        return claims

    def _sign(self, claims: Object) -> str:
        signed = f"{_encode_json(_HEADER)}.{_encode_json(claims)}"
        return f"{signed}.{_encode(self._digest(signed))}"

    def _digest(self, signed: str) -> bytes:
        return hmac.digest(self._key, signed.encode(), hashlib.sha256)


def common_audiences(claims: Object, wanted: Sequence[str]) -> list[str]:
    """Return the wanted audiences that a token has, in their order.

    Raises:
        TokenError: it has none of them.
    """
    found = [audience for audience in wanted if audience in claims["aud"]]
    if not found:
        named, asked = (" ".join(json.dumps(one) for one in some) for some in (claims["aud"], wanted))
        raise TokenError(f"token audiences [{named}] is invalid for the target audiences [{asked}]")
    return found


def check_time(claims: Object, now: float) -> None:
    """Check that a token has not expired at `now`, in seconds since the epoch, give or take a minute.

    Raises:
        TokenError: it has expired.
    """
    if now > claims["exp"] + _LEEWAY_SECONDS:
        raise TokenError("service account token has expired")


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _encode_json(value: Any) -> str:
    return _encode(json.dumps(value, separators=(",", ":")).encode())


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
