"""What the tests of the embedded cluster share: the official client's APIs, and the types of their fixtures."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import pytest

OF_THE_EMBEDDED_CLUSTER = pytest.mark.embedded_only(
    "it is about the embedded cluster itself; tests/parity compares that with this one"
)
Manifest = dict[str, Any]
# The client's generated types make every field optional, and refuse manifests that its methods take.
Model = Any


@dataclass(frozen=True)
class Apis:
    """The official client's APIs for one cluster, and the namespace that a test has to itself."""

    batch: Any  # BatchV1Api
    core: Any
    apps: Any
    namespace: str

    def pods(self, selector: str = "") -> list[Model]:
        """The namespace's pods."""
        return list(self.core.list_namespaced_pod(self.namespace, label_selector=selector).items)

    def pods_of(self, job: str) -> list[Model]:
        """A Job's pods."""
        return self.pods(f"batch.kubernetes.io/job-name={job}")

    def job(self, name: str) -> Model:
        """A Job."""
        return self.batch.read_namespaced_job(name, self.namespace)

    def pod(self, name: str) -> Model:
        """A pod."""
        return self.core.read_namespaced_pod(name, self.namespace)

    def log(self, pod: str, **options: Any) -> str:
        """A pod's log, exactly."""
        answer = self.core.read_namespaced_pod_log(pod, self.namespace, _preload_content=False, **options)
        return str(answer.data.decode())

    def reasons(self, kind: str, name: str) -> list[str]:
        """The reasons of the Events about an object."""
        selector = f"involvedObject.kind={kind},involvedObject.name={name}"
        found = self.core.list_namespaced_event(self.namespace, field_selector=selector).items
        return [str(event.reason) for event in found]


class Eventually(Protocol):
    """Waits for something to come about."""

    def __call__(self, condition: Callable[[], Any]) -> Any:
        """Wait until a condition holds, and return what it returned; the test fails when that takes too long."""


class MakeJob(Protocol):
    """Makes manifests of Jobs."""

    def __call__(self, name: str, *args: str, image: str = ..., pod: Manifest | None = ..., **spec: Any) -> Manifest:
        """Make a Job that runs `args`; `pod` replaces fields of its pods' spec, `spec` of its own."""
