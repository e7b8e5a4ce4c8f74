"""Lists of runs while runs are admitted, end, are added and deleted: their content and their cost."""

import re
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from kubernetes import client
from kubernetes.client import ApiException

from app.domain.names import new_id
from app.kube.manifests import build_job
from schemas.definition import Definition
from schemas.merge import merge
from schemas.request import Request
from tests.http.clients import Caller
from tests.http.dispatching import Run, dispatching, has, make_caller, simulate_run, start, wait_for
from tests.support.faults import FaultProxy
from tests.support.selection import slow
from tests.support.servers import Server, write_kubeconfig

SHELL: dict[str, Any] = {"Image": "busybox:1", "Visibility": "Public", "NumberParallelJob": 8, "BackoffLimit": 0}
DEFINITIONS: dict[str, Any] = {"Configurations": {"shell": SHELL, "other": SHELL}}


@pytest.fixture
def idle(server: Server, namespace: str, tmp_path: Path, proxy: FaultProxy) -> Caller:
    """Send requests to an application without a dispatcher; only its calls go through the proxy."""
    return make_caller(write_kubeconfig(tmp_path, server, namespace, url=proxy.url), DEFINITIONS)


class Jobs:
    """Makes runs as the service does, but directly, which is faster."""

    def __init__(self, batch: Any, namespace: str) -> None:
        self._batch = batch
        self._namespace = namespace
        self._began = datetime.now(UTC)
        self._made = 0

    def add(self, count: int, *, admitted: bool = False) -> list[str]:
        """Store runs one microsecond apart and return their ids, oldest first.

        The pod of an admitted run is never scheduled, because it names a scheduler that does not exist.
        """
        jobs = []
        for _ in range(count):
            self._made += 1
            spec = merge(Definition("shell", "busybox:1"), Request())
            queued_at = self._began + timedelta(microseconds=self._made)
            job = build_job(spec, new_id(), queued_at=queued_at, call="test")
            job["spec"]["suspend"] = not admitted
            job["spec"]["template"]["spec"]["schedulerName"] = "nobody"
            jobs.append(job)
        with ThreadPoolExecutor(8) as makers:
            list(makers.map(lambda job: self._batch.create_namespaced_job(self._namespace, job), jobs))
        return [job["metadata"]["name"].removeprefix("shell-slimfaas-job-") for job in jobs]

    def delete(self, ids: Sequence[str]) -> None:
        """Delete runs as `kubectl delete job` does; ignore those that do not exist."""
        for run_id in ids:
            name = f"shell-slimfaas-job-{run_id}"
            try:
                self._batch.delete_namespaced_job(name, self._namespace, propagation_policy="Background")
            except ApiException as error:
                if error.status != 404:
                    raise


@pytest.fixture
def jobs(batch: client.BatchV1Api, namespace: str) -> Jobs:
    """Make runs without the service."""
    return Jobs(batch, namespace)


def calls_of(proxy: FaultProxy, caller: Caller, path: str) -> tuple[list[Run], list[tuple[str, dict[str, list[str]]]]]:
    """Return a response's JSON and the calls that it cost: collection or name, and query."""
    before = len(proxy.requests)
    response = caller.get(path)
    assert response.status_code == 200, response.text
    asked = [(one.path.rpartition("/")[2], parse_qs(one.query)) for one in proxy.requests[before:]]
    return response.json, asked


def test_list__shows_runs_by_the_state_of_their_pods(
    idle: Caller, proxy: FaultProxy, server: Server, namespace: str, tmp_path: Path
) -> None:
    """It costs one list of Jobs, at most one of pods, and one look at each dependency."""
    with dispatching(write_kubeconfig(tmp_path, server, namespace), DEFINITIONS):
        running = [start(idle, "shell", "sleep", "60", Environments=simulate_run(seconds=60)) for _ in range(3)]
        failed = start(idle, "shell", "false", Environments=simulate_run(seconds=0, exit_code=1))
        succeeded = start(idle, "shell", "true", Environments=simulate_run(seconds=0))
        queued = [start(idle, "shell", "true", DependsOn=["nobody"]) for _ in range(3)]
        start(idle, "other", "true", Environments=simulate_run(seconds=60))
        for location in running:
            wait_for(idle, location, has(Status="Running"))
        wait_for(idle, failed, has(Status="Failed"))
        wait_for(idle, succeeded, has(Status="Succeeded"))

        def listed(query: str) -> tuple[list[str], list[str]]:
            runs, asked = calls_of(proxy, idle, f"/job/shell{query}")
            assert all(run == idle.get(f"/job/shell/{run['Id']}").json for run in runs)
            return [f"/job/shell/{run['Id']}" for run in runs], sorted(what for what, _ in asked)

        assert listed("?status=Running") == (running[::-1], ["jobs", "pods"])
        assert listed("?status=Running&limit=2") == (running[:0:-1], ["jobs", "pods"])
        assert listed("?status=Pending") == ([], ["jobs", "pods"])
        assert listed("?status=Failed&status=Succeeded") == ([succeeded, failed], ["jobs", "pods"])
        assert listed("?status=Queued") == (queued[::-1], ["jobs", "nobody", "nobody"])
        assert listed("") == (
            [*queued[::-1], succeeded, failed, *running[::-1]],
            ["jobs", "nobody", "nobody", "pods"],
        )


@pytest.mark.parametrize(
    ("count", "selector"),
    [(100, "batch.kubernetes.io/job-name in"), *slow((101, "slimfaas.dev/job="))],
)
def test_list__reads_the_pods_of_many_runs_in_one_list(
    idle: Caller, proxy: FaultProxy, jobs: Jobs, count: int, selector: str
) -> None:
    """Up to a hundred runs are named in the selector; more would make the URL too long for proxies."""
    added = jobs.add(count, admitted=True)
    first = {run["Id"]: run for run in idle.get(f"/job/shell?limit={count}").json}
    assert set(first) == set(added)
    for run_id in (added[0], added[-1]):
        wait_for(idle, f"/job/shell/{run_id}", has(Attempts=1))
    runs, asked = calls_of(proxy, idle, "/job/shell?limit=500&status=Pending")
    assert {run["Id"] for run in runs} == set(added)
    # Each list is read once, page by page.
    assert [what for what, query in asked if "continue" not in query] == ["jobs", "pods"]
    [words] = next(query for what, query in asked if what == "pods")["labelSelector"]
    assert selector in words
    assert len(words) < 8000


@pytest.mark.slow
def test_list__shows_every_remaining_run_once_across_pages(idle: Caller, jobs: Jobs, proxy: FaultProxy) -> None:
    """While runs are added, started and deleted, even the one where a page ends."""
    old = jobs.add(250)
    ends = threading.Event()
    failures: list[BaseException] = []

    def come_and_go() -> None:
        try:
            while not ends.is_set():
                jobs.add(1, admitted=True)
                jobs.delete(jobs.add(2))
        except Exception as error:
            failures.append(error)

    churn = threading.Thread(target=come_and_go)
    churn.start()
    pages: list[list[str]] = []
    gone: set[str] = set()
    path: str | None = "/job/shell?limit=100"
    try:
        while path is not None:
            before = len(proxy.requests)
            response = idle.get(path)
            assert response.status_code == 200, response.text
            lists = [parse_qs(one.query) for one in proxy.requests[before:] if one.path.endswith("/jobs")]
            assert sum("continue" not in query for query in lists) == 1
            assert len(response.json) <= 100
            pages.append([run["Id"] for run in response.json])
            link = re.fullmatch(r'<(/job/[^>]*)>; rel="next"', response.headers.get("Link", ""))
            path = link[1] if link else None
            # A run of a later page, and, once, the run after which the next page begins.
            met = {run_id for page in pages for run_id in page}
            going = {*[run_id for run_id in old if run_id not in met | gone][:1]}
            if len(pages) == 1:
                going.add(pages[0][-1])
            jobs.delete(sorted(going))
            gone |= going
    finally:
        ends.set()
        churn.join()
    assert not failures
    found = [run_id for page in pages for run_id in page]
    stayed = [run_id for run_id in old[::-1] if run_id not in gone]
    assert len(pages) >= 3
    assert len(found) == len(set(found))
    assert [run_id for run_id in found if run_id in stayed] == stayed
