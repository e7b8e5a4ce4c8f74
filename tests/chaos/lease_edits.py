"""Edits of the dispatcher's Lease by hand."""

from __future__ import annotations

from typing import Any

import requests

from tests.chaos.etcd_watcher import EtcdWatcher
from tests.chaos.history import INTENT_ANNOTATION, NOBODY, LeaseVersion
from tests.chaos.kinds import Kind
from tests.controlplane.plane import ControlPlane

_GARBAGE = (
    "",
    "garbage",
    "{}",
    "null",
    "[" * 5000,
    '{"format":1,"holder":"',
    '{"format":2,"holder":"a","transitions":0,"sequence":1,"complete":true,"runs":[]}',
    '{"format":1,"holder":7,"transitions":1e400,"sequence":-1,"complete":"yes","runs":[["a"],[null,true]]}',
)
_HIGHEST_INT32 = 2**31 - 1
_NOBODY_SECONDS = 5
"""How long the others wait for nobody, so that there is a leader for most of the time."""

_OLDER = 20
"""From how many older intents one is chosen."""

_MERGE_PATCH = "application/merge-patch+json"


class LeaseEditor:
    """Edits the Lease as an administrator."""

    def __init__(self, plane: ControlPlane, watcher: EtcdWatcher, namespace: str) -> None:
        self._plane = plane
        self._watcher = watcher
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/slimfaas-jobs-dispatcher"

    def edit(self, kind: Kind, pick: float) -> str | None:
        """Edit the Lease; return its holder and the edit, or `None` if there is no Lease or no API server."""
        holder = self._watcher.holder
        changed = self._change(kind, pick)
        if changed is None:
            return None
        text, body = changed
        try:
            if body is None:
                self._plane.call("DELETE", self._path)
            else:
                self._plane.call("PATCH", self._path, body, content_type=_MERGE_PATCH)
        except requests.RequestException:
            return None
        return f"{holder}: {text}"

    def _change(self, kind: Kind, pick: float) -> tuple[str, dict[str, Any] | None] | None:
        """Return a description of the edit and its merge patch; without a patch, the Lease is deleted."""
        if kind is Kind.LEASE_DELETED:
            return "deleted", None
        if kind is Kind.LEASE_TRANSITIONS:
            return f"leaseTransitions {_HIGHEST_INT32}", {"spec": {"leaseTransitions": _HIGHEST_INT32}}
        if kind is Kind.LEASE_NOBODY:
            return f"held by {NOBODY}", {"spec": {"holderIdentity": NOBODY, "leaseDurationSeconds": _NOBODY_SECONDS}}
        intents = _GARBAGE if kind is Kind.LEASE_GARBAGE else self._older_intents()
        if not intents:
            return None
        intent = intents[int(pick * len(intents))]
        return f"intent {intent[:200]}", {"metadata": {"annotations": {INTENT_ANNOTATION: intent}}}

    def _older_intents(self) -> tuple[str, ...]:
        """Return the last intents of the present holder before its last one."""
        found = dict.fromkeys(version.intent for version in self._watcher.versions if isinstance(version, LeaseVersion))
        intents = list(filter(None, found))
        return tuple(intent for intent in intents[:-1] if _term_of(intent) == _term_of(intents[-1]))[-_OLDER:]


def _term_of(intent: str) -> str:
    """Return the part of an intent that is the same for all of a term."""
    return intent.partition('"sequence"')[0]
