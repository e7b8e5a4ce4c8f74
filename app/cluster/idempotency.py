"""What a run keeps of its call's Idempotency-Key, so that a repeated call finds it again.

The header: https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/. The key gives the run its name,
and names are unique in a namespace: of any number of calls with one key, at any number of replicas, one makes a run.
"""

import hashlib
from dataclasses import dataclass
from enum import Enum

from app.cluster import keys
from app.cluster.client import Json
from app.cluster.names import id_from
from app.cluster.records import is_run


class Match(Enum):
    """What a Job that bears the name which a key leads to is to a call with that key."""

    SAME_REQUEST = "the run of an earlier call with the same key and the same request"
    OTHER_REQUEST = "the run of an earlier call with the same key and another request"
    OTHER_KEY = "something else: the name is all that they share"


@dataclass(frozen=True, slots=True)
class Claim:
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

    def annotations(self) -> dict[str, str]:
        """What the run is known by."""
        return {keys.KEY_ANNOTATION: self.key_digest.hex(), keys.REQUEST_ANNOTATION: self.request_digest.hex()}

    def match(self, job: Json) -> Match:
        """Compare a Job of the run's name."""
        annotations = job["metadata"].get("annotations") or {}
        wanted = self.annotations()
        if (
            not is_run(job)
            or job["metadata"]["labels"][keys.DEFINITION_LABEL] != self.definition
            or annotations.get(keys.KEY_ANNOTATION) != wanted[keys.KEY_ANNOTATION]
        ):
            return Match.OTHER_KEY
        same = annotations.get(keys.REQUEST_ANNOTATION) == wanted[keys.REQUEST_ANNOTATION]
        return Match.SAME_REQUEST if same else Match.OTHER_REQUEST


def claim_by(definition: str, key: str, body: bytes, path: str, query: str) -> Claim:
    """Make the claim of a call.

    Args:
        definition: its name.
        key: the Idempotency-Key, without quotes.
        body: of the call, as sent.
        path: what the call's path has after the definition's name, decoded.
        query: the call's raw query string.
    """
    return Claim(
        definition,
        _digest(definition.encode(), key.encode()),
        _digest(body, path.encode(), query.encode()),
    )


def _digest(*parts: bytes) -> bytes:
    """SHA-256 over the parts, each with its length before it, so that no two lists of parts give the same text."""
    return hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).digest()
