"""Idempotency-Keys: a repeated request finds the run of the first one.

The header: https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/. The key determines the run's
name, and names are unique in a namespace. So exactly one request creates a run, however many requests with one key
arrive, and at however many replicas. `app/kube/idempotency.py` compares a request with the run that has its name.
"""

import hashlib
import hmac
from dataclasses import dataclass

from app.domain.names import id_from


@dataclass(frozen=True, slots=True)
class IdempotentRequest:
    """A request with a key.

    Both digests are stored on the Job or CronJob. Anyone who can read it can test guesses of the key against its
    digest, so a key must not be a secret. The request itself stands in it as clear text anyway.

    Attributes:
        definition: the definition's name.
        key_digest: SHA-256 of definition, key and user.
        request_digest: SHA-256 of the request: body, path and query, byte by byte.
    """

    definition: str
    key_digest: bytes
    request_digest: bytes

    @property
    def run_id(self) -> str:
        """The id of the run or schedule, the same for every request of this user with this definition and key."""
        return id_from(self.key_digest)


def identify_request(
    definition: str,
    key: str,
    body: bytes,
    path: str,
    query: str,
    user: str = "",
    secret: bytes = b"",
    *,
    kind: str = "",
) -> IdempotentRequest:
    """Digest a request with a key.

    Args:
        definition: the definition's name.
        key: the Idempotency-Key, without quotes.
        body: the request's body, as sent.
        path: the part of the request's path after the definition's name, decoded.
        query: the request's raw query string.
        user: the caller's user name; empty if it is unknown. A user can neither find nor take the runs of another one
            by guessing keys.
        secret: of the installation, the same in all its processes. Without it nobody can work out the id that belongs
            to a key, or test a guess of a key against an id or a digest. Empty: there is none.
        kind: what the request makes; empty: a run. The same key leads to another id for each kind, so the id of a run
            tells nothing about the id of a schedule.
    """
    return IdempotentRequest(
        definition,
        _digest(
            (f"{kind}/{definition}" if kind else definition).encode(),
            key.encode(),
            *([user.encode()] if user else []),
            secret=secret,
        ),
        _digest(body, path.encode(), query.encode()),
    )


def _digest(*parts: bytes, secret: bytes = b"") -> bytes:
    """Return SHA-256 over the parts, or HMAC-SHA-256 with a secret.

    A length before each part keeps different lists of parts apart.
    """
    joined = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    return hmac.digest(secret, joined, "sha256") if secret else hashlib.sha256(joined).digest()
