"""The API server's audit log of one user's requests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def calls_of(account: str, audit_log: Path) -> list[dict[str, Any]]:
    """Return the audit log's events of a ServiceAccount's requests.

    https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/#audit-k8s-io-v1-Event
    """
    with audit_log.open(encoding="utf-8") as lines:
        events = [json.loads(line) for line in lines if account in line and line.endswith("\n")]
    return [event for event in events if event["user"]["username"] == account]
