"""The official client's APIs and the fixtures' types, for the tests of the embedded cluster."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import pytest

OF_THE_EMBEDDED_CLUSTER = pytest.mark.embedded_only(
    "tests the embedded cluster itself; tests/parity compares it with a real one"
)
Manifest = dict[str, Any]
# The client's generated types make every field optional, and reject manifests that its methods accept.
Model = Any


@dataclass(frozen=True)
class Apis:
    """The official client's APIs, and a test's own namespace."""

    batch: Any  # BatchV1Api
    core: Any
    apps: Any
    namespace: str

    def pods(self, selector: str = "") -> list[Model]:
        """Return the namespace's pods."""
        return list(self.core.list_namespaced_pod(self.namespace, label_selector=selector).items)

    def pods_of(self, job: str) -> list[Model]:
        """Return a Job's pods."""
        return self.pods(f"batch.kubernetes.io/job-name={job}")

    def job(self, name: str) -> Model:
        """Return a Job."""
        return self.batch.read_namespaced_job(name, self.namespace)

    def pod(self, name: str) -> Model:
        """Return a pod."""
        return self.core.read_namespaced_pod(name, self.namespace)

    def log(self, pod: str, **options: Any) -> str:
        """Return a pod's log, unchanged."""
        response = self.core.read_namespaced_pod_log(pod, self.namespace, _preload_content=False, **options)
        return str(response.data.decode())

    def reasons(self, kind: str, name: str) -> list[str]:
        """Return the reasons of an object's Events."""
        selector = f"involvedObject.kind={kind},involvedObject.name={name}"
        found = self.core.list_namespaced_event(self.namespace, field_selector=selector).items
        return [str(event.reason) for event in found]


class Eventually(Protocol):
    """Waits for a condition."""

    def __call__(self, condition: Callable[[], Any]) -> Any:
        """Wait until a condition returns a true value, and return that value; fail the test on a timeout."""


class MakeJob(Protocol):
    """Creates manifests of Jobs."""

    def __call__(self, name: str, *args: str, image: str = ..., pod: Manifest | None = ..., **spec: Any) -> Manifest:
        """Create a Job that runs `args`; `pod` overrides fields of the pod spec, `spec` fields of the Job spec."""
