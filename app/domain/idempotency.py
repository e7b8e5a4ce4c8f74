"""Idempotency-Keys: a repeated request finds the run of the first one.

The header: https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/. The key determines the run's
name, and names are unique in a namespace. So exactly one request creates a run, however many requests with one key
arrive, and at however many replicas.
"""

import hashlib
from dataclasses import dataclass

from app.domain.names import id_from


@dataclass(frozen=True, slots=True)
class IdempotentRequest:
    """A request with a key.

    Both digests are stored on the Job. Anyone who can read the Job can test guesses of the key against its digest, so
    a key must not be a secret. The request itself stands in the Job as clear text anyway.

    Attributes:
        definition: the definition's name.
        key_digest: SHA-256 of definition and key.
        request_digest: SHA-256 of the request: body, path and query, byte by byte.
    """

    definition: str
    key_digest: bytes
    request_digest: bytes

    @property
    def run_id(self) -> str:
        """The id of the run, the same for every request with this definition and key."""
        return id_from(self.key_digest)


def identify_request(definition: str, key: str, body: bytes, path: str, query: str) -> IdempotentRequest:
    """Digest a request with a key.

    Args:
        definition: the definition's name.
        key: the Idempotency-Key, without quotes.
        body: the request's body, as sent.
        path: the part of the request's path after the definition's name, decoded.
        query: the request's raw query string.
    """
    return IdempotentRequest(
        definition,
        _digest(definition.encode(), key.encode()),
        _digest(body, path.encode(), query.encode()),
    )


def _digest(*parts: bytes) -> bytes:
    """Return SHA-256 over the parts. A length before each part keeps different lists of parts apart."""
    return hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).digest()
