"""The calls to the API server that this service makes, all in one namespace."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Literal
from urllib.parse import quote

from app.common.types import Json
from app.domain.attempt import FAILED_CREATE
from app.kube import labels
from app.kube.call_timeouts import CALL_SECONDS, PAGE_SECONDS
from app.kube.cancel_token import CancelToken
from app.kube.errors import InvalidError, NotFoundError, UnavailableError
from app.kube.paging import ResourceSelector, read_pages
from app.kube.transport import MERGE_PATCH, ApiTransport, Stream

_TOKEN_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"  # noqa: S105 - a path

_ACCESS_REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"

ASK_SECONDS = 30.0
"""After so much silence of a log, the API server is asked whether it still responds."""

_NAMES_IN_URL = 100
"""How many Jobs a selector may name: about 6 KiB of URL, where proxies commonly accept 8 KiB."""

Propagation = Literal["Background", "Foreground"]


class NamespacedClient:
    """The namespace that the service lives in. Safe to share between threads."""

    def __init__(self, transport: ApiTransport) -> None:
        self.transport = transport
        self.name = transport.namespace
        self._jobs = f"/apis/batch/v1/namespaces/{self.name}/jobs"
        self._core = f"/api/v1/namespaces/{self.name}"
        self._apps = f"/apis/apps/v1/namespaces/{self.name}"
        self._leases = f"/apis/coordination.k8s.io/v1/namespaces/{self.name}/leases"
        self._kueue = f"/apis/kueue.x-k8s.io/v1beta2/namespaces/{self.name}"
        self.runs = ResourceSelector(self._jobs, labels.RUNS_SELECTOR)
        self._cronjobs = f"/apis/batch/v1/namespaces/{self.name}/cronjobs"
        self.cronjobs = ResourceSelector(self._cronjobs)
        self.schedules = ResourceSelector(self._cronjobs, labels.SCHEDULES_SELECTOR)
        self.workloads = {
            "Deployment": ResourceSelector(f"{self._apps}/deployments"),
            "StatefulSet": ResourceSelector(f"{self._apps}/statefulsets"),
        }

    def runs_of(self, definition: str) -> ResourceSelector:
        """Select the runs of one definition."""
        return ResourceSelector(self._jobs, labels.runs_selector(definition))

    def runs_of_schedule(self, definition: str, schedule_id: str) -> ResourceSelector:
        """Select the runs that one schedule of a definition has made."""
        return ResourceSelector(self._jobs, f"{labels.runs_selector(definition)},{labels.SCHEDULE_LABEL}={schedule_id}")

    def schedules_of(self, definition: str) -> ResourceSelector:
        """Select the CronJobs of one definition's schedules."""
        return ResourceSelector(self._cronjobs, f"{labels.runs_selector(definition)},{labels.SCHEDULE_LABEL}")

    def pods_of(self, job: str) -> ResourceSelector:
        """Select the pods of one run."""
        return ResourceSelector(f"{self._core}/pods", f"{labels.JOB_NAME_LABEL}={job}")

    def pods_of_some(self, definition: str, jobs: Sequence[str]) -> ResourceSelector:
        """Select the pods of some runs of a definition; of all, if naming the runs would make the URL too long."""
        if len(jobs) > _NAMES_IN_URL:
            return ResourceSelector(f"{self._core}/pods", labels.runs_selector(definition))
        return ResourceSelector(f"{self._core}/pods", labels.pods_selector(jobs))

    def kueue_workloads_of(self, uids: Sequence[str]) -> Iterator[ResourceSelector]:
        """Select Kueue's Workloads of some Jobs, by the Jobs' uids, as many at a time as a URL may name."""
        for first in range(0, len(uids), _NAMES_IN_URL):
            selector = labels.workloads_selector(uids[first : first + _NAMES_IN_URL])
            yield ResourceSelector(f"{self._kueue}/workloads", selector)

    def pages(
        self, collection: ResourceSelector, *, page_seconds: float = PAGE_SECONDS
    ) -> Iterator[tuple[list[Json], int]]:
        """Read a collection page by page; see `read_pages`."""
        return read_pages(self.transport, collection, page_seconds=page_seconds)

    def objects(self, collection: ResourceSelector, *, page_seconds: float = PAGE_SECONDS) -> Iterator[Json]:
        """Read the objects of a collection; see `read_pages`."""
        for items, _ in self.pages(collection, page_seconds=page_seconds):
            yield from items

    def create_job(self, job: Json, *, dry_run: bool = False, warnings: list[str] | None = None) -> Json:
        """Create a Job. One with a field that the API server does not know is refused, not stored without it.

        Args:
            job: to create.
            dry_run: have it validated and completed only; nothing is stored.
            warnings: see `ApiTransport.call`.
        """
        query = {"fieldValidation": "Strict"} | ({"dryRun": "All"} if dry_run else {})
        return _expect("Job", self.transport.call("POST", self._jobs, query=query, body=job, warnings=warnings))

    def get_job(self, name: str, *, ask: Callable[[], None] | None = None) -> Json:
        """Read a Job, which need not be a run; `ask`: see `ApiTransport.call`."""
        return _expect("Job", self.transport.call("GET", _path(self._jobs, name), ask=ask))

    def patch_job(self, name: str, patch: Json, *, ask: Callable[[], None] | None = None) -> Json:
        """Merge a patch into a Job; a patch with a resourceVersion conflicts if the Job has changed since.

        Args:
            name: of the Job.
            patch: to merge.
            ask: see `ApiTransport.call`.
        """
        answer = self.transport.call("PATCH", _path(self._jobs, name), body=patch, content_type=MERGE_PATCH, ask=ask)
        return _expect("Job", answer)

    def delete_job(self, name: str, *, uid: str, resource_version: str | None, propagation: Propagation) -> None:
        """Delete a Job and its pods.

        Args:
            name: of the Job.
            uid: that the Job must have; another Job of the same name is left alone.
            resource_version: that the Job must have; `None`: any.
            propagation: `Background`: the Job is gone at once, its pods later; `Foreground`: it stays, being deleted,
                until its pods are gone (https://kubernetes.io/docs/concepts/architecture/garbage-collection/).

        Raises:
            ConflictError: the Job has another uid or another version.
            NotFoundError: there is no such Job.
        """
        preconditions = {"uid": uid} | ({} if resource_version is None else {"resourceVersion": resource_version})
        options = {"propagationPolicy": propagation, "preconditions": preconditions}
        self.transport.call("DELETE", _path(self._jobs, name), body=options)

    def create_cronjob(self, cronjob: Json, *, dry_run: bool = False) -> Json:
        """Create a CronJob; see `create_job`."""
        query = {"fieldValidation": "Strict"} | ({"dryRun": "All"} if dry_run else {})
        return _expect("CronJob", self.transport.call("POST", self._cronjobs, query=query, body=cronjob))

    def get_cronjob(self, name: str) -> Json:
        """Read a CronJob, which need not be a schedule."""
        return _expect("CronJob", self.transport.call("GET", _path(self._cronjobs, name)))

    def replace_cronjob(self, cronjob: Json, *, dry_run: bool = False) -> Json:
        """Replace a CronJob by one that carries the resourceVersion of what it replaces; see `create_job`."""
        query = {"fieldValidation": "Strict"} | ({"dryRun": "All"} if dry_run else {})
        path = _path(self._cronjobs, cronjob["metadata"]["name"])
        return _expect("CronJob", self.transport.call("PUT", path, query=query, body=cronjob))

    def patch_cronjob(self, name: str, patch: Json) -> Json:
        """Merge a patch into a CronJob; a patch with a resourceVersion conflicts if the CronJob has changed since."""
        answer = self.transport.call("PATCH", _path(self._cronjobs, name), body=patch, content_type=MERGE_PATCH)
        return _expect("CronJob", answer)

    def delete_cronjob(self, name: str, *, uid: str, resource_version: str) -> None:
        """Delete a CronJob. Its Jobs stay.

        Args:
            name: of the CronJob.
            uid: that the CronJob must have; another CronJob of the same name is left alone.
            resource_version: that the CronJob must have.

        Raises:
            ConflictError: the CronJob has another uid or another version.
            NotFoundError: there is no such CronJob.
        """
        preconditions = {"uid": uid, "resourceVersion": resource_version}
        options = {"propagationPolicy": "Orphan", "preconditions": preconditions}
        self.transport.call("DELETE", _path(self._cronjobs, name), body=options)

    @contextmanager
    def log(
        self,
        pod: str,
        query: Mapping[str, str | int],
        *,
        silence_seconds: float | None,
        cancel_token: CancelToken,
        ask_seconds: float = ASK_SECONDS,
    ) -> Iterator[Stream]:
        """Open the log of a pod's container.

        A container may print nothing for hours. So another call finds out whether the API server still responds, unless
        a recent call has; if it does not, the log ends.

        Args:
            pod: its name.
            query: as in https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#get-read-log
            silence_seconds: see `ApiTransport.stream`.
            cancel_token: ends the log.
            ask_seconds: after how much silence, each time, the API server is asked.

        Raises:
            InvalidError: the container has no log yet, in the kubelet's words.
            ClusterError: also while it is read.
        """
        path = _path(f"{self._core}/pods", pod, "log")

        def ask() -> None:
            if self.transport.clock.silent_seconds > ask_seconds / 2:
                with suppress(NotFoundError):
                    self.get_lease(labels.LEASE_NAME)

        with self.transport.stream(
            path, query, silence_seconds=silence_seconds, ask=ask, ask_seconds=ask_seconds, cancel_token=cancel_token
        ) as stream:
            if stream.status == 204:  # the API server's response if there is no kubelet to ask
                raise InvalidError(f"pod {pod} is on no node yet")
            yield stream

    def find_workloads(self, name: str) -> list[tuple[str, Json]]:
        """Return the Deployment and the StatefulSet of this name, as far as they exist, as `(kind, object)`."""
        found = []
        for kind, collection in self.workloads.items():
            try:
                found.append((kind, self.transport.call("GET", _path(collection.path, name))))
            except NotFoundError:
                continue
        return found

    def get_service_account(self, name: str) -> Json:
        """Read a ServiceAccount."""
        return self.transport.call("GET", _path(f"{self._core}/serviceaccounts", name))

    def get_local_queue(self, name: str) -> Json:
        """Read a LocalQueue of Kueue."""
        return self.transport.call("GET", _path(f"{self._kueue}/localqueues", name))

    def get_workload_priority_class(self, name: str) -> Json:
        """Read a WorkloadPriorityClass of Kueue, which belongs to the whole cluster."""
        return self.transport.call("GET", _path("/apis/kueue.x-k8s.io/v1beta2/workloadpriorityclasses", name))

    def running_pods_at(self, address: str) -> list[Json]:
        """Return the running pods whose first address this is, in one call.

        The API server has no selector for a pod's second address, which is of the other IP family:
        https://kubernetes.io/docs/concepts/overview/working-with-objects/field-selectors/

        Args:
            address: as Kubernetes writes it: RFC 5952 for IPv6.
        """
        query = {"fieldSelector": f"status.podIP={address},status.phase=Running"}
        pods: list[Json] = self.transport.call("GET", f"{self._core}/pods", query=query).get("items") or []
        return pods

    def pages_of_running_pods(self) -> Iterator[list[Json]]:
        """Read the running pods of the namespace, page by page; see `read_pages`."""
        running = ResourceSelector(f"{self._core}/pods", field_selector="status.phase=Running")
        for items, _ in self.pages(running):
            yield items

    def review_token(self, token: str, audience: str | None) -> Json:
        """Have the API server review a token; returns the status of the TokenReview.

        Args:
            token: to review.
            audience: that it must be for; `None`: one of the API server's own.
        """
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token} | ({} if audience is None else {"audiences": [audience]}),
        }
        return _status_of("TokenReview", self.transport.call("POST", _TOKEN_REVIEWS, body=review))

    def review_access(self, subject: Json, attributes: Json) -> Json:
        """Ask the API server whether a user may do something here; returns the status of the SubjectAccessReview.

        Args:
            subject: the user: `user`, `groups`, `uid` and `extra`.
            attributes: verb, group, resource and so on; the namespace is added.
        """
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {**subject, "resourceAttributes": {**attributes, "namespace": self.name}},
        }
        return _status_of("SubjectAccessReview", self.transport.call("POST", _ACCESS_REVIEWS, body=review))

    def create_event(self, event: Json) -> Json:
        """Create a core/v1 Event."""
        return self.transport.call("POST", f"{self._core}/events", body=event)

    def failed_creates(self, uid: str) -> list[Json]:
        """Return Events of a Job about pods that could not be created, as many as one page has.

        Args:
            uid: of the Job.
        """
        selector = f"involvedObject.uid={uid},reason={FAILED_CREATE}"
        events = ResourceSelector(f"{self._core}/events", field_selector=selector)
        items, _ = next(self.pages(events, page_seconds=CALL_SECONDS))
        return items

    def events_of_pod(self, pod: str) -> list[Json]:
        """Return Events of a pod, as many as one page has.

        Args:
            pod: its name.
        """
        selector = f"involvedObject.kind=Pod,involvedObject.name={pod}"
        events = ResourceSelector(f"{self._core}/events", field_selector=selector)
        items, _ = next(self.pages(events, page_seconds=CALL_SECONDS))
        return items

    def get_lease(self, name: str) -> Json:
        """Read a Lease."""
        return _expect("Lease", self.transport.call("GET", _path(self._leases, name)))

    def create_lease(self, lease: Json) -> Json:
        """Store a Lease."""
        return _expect("Lease", self.transport.call("POST", self._leases, body=lease))

    def replace_lease(self, lease: Json) -> Json:
        """Replace a Lease by one that carries the resourceVersion of what it replaces."""
        answer = self.transport.call("PUT", _path(self._leases, lease["metadata"]["name"]), body=lease)
        return _expect("Lease", answer)


def _status_of(kind: str, answer: Json) -> Json:
    """Return the status of a review; see `_expect`."""
    status: Json = _expect(kind, answer).get("status") or {}
    return status


def _path(collection: str, *segments: str) -> str:
    """Return the path of an object, or of a part of one. Each segment is quoted, so it stays one segment.

    Raises:
        NotFoundError: no object can have this name, and a path with it would be another object's.
    """
    for segment in segments:
        if segment in ("", ".", ".."):
            raise NotFoundError(f"no object can have the name {segment!r}")
    return "/".join((collection, *(quote(segment, safe="") for segment in segments)))


def _expect(kind: str, answer: Json) -> Json:
    """The answer to a call that is to bring an object of this kind.

    Raises:
        UnavailableError: something between us and the API server has answered, so the outcome of the call is
            unknown.
    """
    if answer.get("kind") != kind:
        raise UnavailableError("the response is not from a Kubernetes API server")
    return answer
