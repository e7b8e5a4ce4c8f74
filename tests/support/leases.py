"""The dispatcher's Lease, as the tests read it from the API server."""

from typing import Any

from kubernetes import client

from app.dispatcher.intent import parse_intent
from app.kube import labels
from tests.support.servers import Server


class DispatcherLease:
    """The dispatcher's Lease of a namespace.

    Args:
        server: the API server.
        namespace: the namespace of the runs.
    """

    def __init__(self, server: Server, namespace: str) -> None:
        self._api = client.CoordinationV1Api(server.admin)
        self._namespace = namespace

    def holder(self) -> str | None:
        """Return the holder of the Lease; empty if it was released, `None` if there is no Lease yet."""
        lease = self._read()
        return None if lease is None else lease.spec.holder_identity or ""

    def version(self) -> str | None:
        """Return the resourceVersion of the Lease; `None` if there is no Lease yet."""
        lease = self._read()
        return None if lease is None else str(lease.metadata.resource_version)

    def is_settled(self) -> bool:
        """Return whether the leader has listed all runs, and no earlier leader may have admissions under way.

        A leader that stops before that keeps its name in the Lease, so that its successor takes over with a fence.
        """
        lease = self._read()
        annotations = (lease and lease.metadata.annotations) or {}
        intent = parse_intent(annotations.get(labels.INTENT_ANNOTATION))
        return intent is not None and intent.complete and not intent.pins

    def _read(self) -> Any:
        leases: list[Any] = self._api.list_namespaced_lease(self._namespace).items
        return next((lease for lease in leases if lease.metadata.name == labels.LEASE_NAME), None)
