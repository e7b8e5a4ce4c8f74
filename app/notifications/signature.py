"""Signatures of notifications, as Standard Webhooks has them. Pure.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

_PREFIX = "whsec_"
_LEAST_BYTES = 24
_MOST_BYTES = 64
_MOST_SECRETS = 2


class SecretError(Exception):
    """The signing secret cannot be used. The message quotes nothing of it."""


def read_secrets(text: str) -> list[bytes]:
    """Read the secrets that a file holds: one, or two while the old one is being replaced.

    Raises:
        SecretError: it holds none, more than two, or something else.
    """
    words = text.split()
    if not 1 <= len(words) <= _MOST_SECRETS:
        raise SecretError(f"the file of the signing secret must hold one or two secrets, not {len(words)}")
    secrets = []
    for word in words:
        try:
            secret = base64.b64decode(word.removeprefix(_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            raise SecretError(f"the signing secret must be {_PREFIX} and base64") from None
        if not _LEAST_BYTES <= len(secret) <= _MOST_BYTES:
            raise SecretError(f"the signing secret must have {_LEAST_BYTES} to {_MOST_BYTES} bytes")
        secrets.append(secret)
    return secrets


def build_signature_headers(event_id: str, timestamp: int, body: bytes, secrets: Sequence[bytes]) -> dict[str, str]:
    """Build the headers by which a receiver knows a repeated event, its time, and who has sent it.

    Args:
        event_id: of the event.
        timestamp: of this attempt, in seconds since the epoch.
        body: the whole body.
        secrets: each makes one signature; a receiver needs to know one of them. Without any, there is no signature.
    """
    headers = {"webhook-id": event_id, "webhook-timestamp": str(timestamp)}
    content = f"{event_id}.{timestamp}.".encode() + body
    signatures = [hmac.digest(secret, content, hashlib.sha256) for secret in secrets]
    if signatures:
        headers["webhook-signature"] = " ".join(f"v1,{base64.b64encode(one).decode()}" for one in signatures)
    return headers
