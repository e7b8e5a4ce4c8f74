"""The tokens of ServiceAccounts: who signs them, what they say, and whether one is good.

They are JSON Web Tokens (RFC 7519) with the claims that kube-apiserver writes; see
https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#bound-service-account-tokens and
`k8s.io/kubernetes/pkg/serviceaccount`. Nobody but this cluster has to check them, so that one key of its own, made at
its start, both signs and verifies (HS256).
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
"""The API server's own: whom a token is for that names nobody else."""
ISSUER = AUDIENCE

_LEEWAY_SECONDS = 60  # clocks may differ by so much
_HEADER = {"alg": "HS256"}


class TokenError(Exception):
    """A token that isn't good, in the API server's words."""


class TokenAuthority:
    """Signs the tokens of one cluster and knows them again."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def issue(
        self, account: Object, audiences: Sequence[str], now: float, lifetime_seconds: int, bound: Object | None = None
    ) -> str:
        """Make a token of an account.

        Args:
            account: The ServiceAccount object.
            audiences: Whom it is for.
            now: When it begins to be good, in seconds since the epoch; a past moment makes one that has expired.
            lifetime_seconds: How long it is good.
            bound: The further claims about what it ends with, such as `{"pod": {"name": …, "uid": …}}`.
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
        """The claims of a token with a good signature, None when it is no token of this cluster's kind.

        Raises:
            TokenError: it is one, but this cluster hasn't signed it so.
        """
        parts = token.split(".")
        if len(parts) != 3:
            return None
        try:
            header, claims = (json.loads(_decode(part)) for part in parts[:2])
            signature = _decode(parts[2])
        except ValueError:  # neither base64 nor JSON: such errors are all of this class
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
    """Those of the wanted audiences that a token is for, in their order.

    Raises:
        TokenError: it is for none of them.
    """
    found = [audience for audience in wanted if audience in claims["aud"]]
    if not found:
        named, asked = (" ".join(json.dumps(one) for one in some) for some in (claims["aud"], wanted))
        raise TokenError(f"token audiences [{named}] is invalid for the target audiences [{asked}]")
    return found


def check_time(claims: Object, now: float) -> None:
    """A token is good now, in seconds since the epoch, or within a minute of it.

    Raises:
        TokenError: it isn't.
    """
    if now > claims["exp"] + _LEEWAY_SECONDS:
        raise TokenError("service account token has expired")


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _encode_json(value: Any) -> str:
    return _encode(json.dumps(value, separators=(",", ":")).encode())


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
