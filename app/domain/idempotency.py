"""Idempotency-Keys: a repeated call finds the run of the first one.

The header: https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/. The key determines the run's
name, and names are unique in a namespace. So however many calls with one key arrive, at however many replicas, exactly
one of them creates a run.
"""

import hashlib
from dataclasses import dataclass

from app.domain.names import id_from


@dataclass(frozen=True, slots=True)
class IdempotentRequest:
    """A call with a key.

    Both digests are stored on the Job. Whoever reads it sees the request there in clear; the key alone they could find
    by guessing, so it is no place for secrets.

    Attributes:
        definition: what is called.
        key_digest: SHA-256 of definition and key.
        request_digest: SHA-256 of the request: body, path and query, byte by byte.
    """

    definition: str
    key_digest: bytes
    request_digest: bytes

    @property
    def run_id(self) -> str:
        """The id of the run, the same for every call with this definition and key."""
        return id_from(self.key_digest)


def identify_request(definition: str, key: str, body: bytes, path: str, query: str) -> IdempotentRequest:
    """Make the claim of a call.

    Args:
        definition: its name.
        key: the Idempotency-Key, without quotes.
        body: of the call, as sent.
        path: what the call's path has after the definition's name, decoded.
        query: the call's raw query string.
    """
    return IdempotentRequest(
        definition,
        _digest(definition.encode(), key.encode()),
        _digest(body, path.encode(), query.encode()),
    )


def _digest(*parts: bytes) -> bytes:
    """SHA-256 over the parts, each with its length before it, so that no two lists of parts give the same text."""
    return hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).digest()
