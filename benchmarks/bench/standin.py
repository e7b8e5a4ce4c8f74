"""A stand-in for an API server with a long queue, which costs nothing to fill: it makes up each Job when it is read.

It has what a dispatcher reads and writes: lists and watches of Jobs, Deployments and StatefulSets, and the Lease. Every
queued run depends on a Deployment of its own. One run is active and holds the only slot, so nothing is ever admitted.
"""

import json
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from benchmarks.bench.cluster import job_text
from benchmarks.bench.load import ID

DEFINITION = "single"
NAMESPACE = "bench"

_DEPENDS_ON = "slimfaas.dev/depends-on"
_CREATED = "2026-01-01T00:00:00Z"
_KINDS = {"jobs": "Job", "deployments": "Deployment", "statefulsets": "StatefulSet"}
_LEASE = "leases"


class StandIn(ThreadingHTTPServer):
    """Serves `count` queued runs.

    Attributes:
        watched: set once the Jobs are watched.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, count: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.watched = threading.Event()
        self._count = count
        self._lock = threading.Lock()
        self._version = count + 10
        self._watches: dict[str, list[queue.SimpleQueue[bytes]]] = {resource: [] for resource in _KINDS}
        self.lease: dict[str, Any] | None = None
        job = json.loads(job_text(DEFINITION))
        job["metadata"] |= {"namespace": NAMESPACE, "creationTimestamp": _CREATED, "generation": 1}
        job["status"] = {"conditions": [{"type": "Suspended", "status": "True"}]}
        self._template = job

    @property
    def url(self) -> str:
        """The server's URL."""
        return f"http://127.0.0.1:{self.server_port}"

    def next_version(self) -> int:
        """Return a new resourceVersion."""
        with self._lock:
            self._version += 1
            return self._version

    def page(self, resource: str, begin: int, limit: int) -> dict[str, Any]:
        """Return a page of a list."""
        count = self._count + 1 if resource == "jobs" else 0
        end = min(count, begin + (limit or count))
        metadata = {"resourceVersion": str(self._version)} | ({"continue": str(end)} if end < count else {})
        items = [self._job(number, number + 1) for number in range(begin, end)]
        return {"kind": f"{_KINDS[resource]}List", "apiVersion": "v1", "metadata": metadata, "items": items}

    def _job(self, number: int, version: int) -> dict[str, Any]:
        """Return a run; the first one is active."""
        run_id = f"{number:012}"
        job: dict[str, Any] = json.loads(json.dumps(self._template).replace(ID, run_id))
        job["metadata"] |= {"uid": f"00000000-0000-4000-8000-{run_id}", "resourceVersion": str(version)}
        job["metadata"]["annotations"][_DEPENDS_ON] = json.dumps([_dependency(number)])
        if not number:
            job["spec"]["suspend"], job["status"] = False, {"active": 1}
        return job

    def change_run(self, number: int) -> None:
        """Send the watches a queued run with another resourceVersion."""
        self._send("jobs", "MODIFIED", self._job(1 + number % self._count, self.next_version()))

    def change_dependency(self, number: int, *, ready: bool) -> None:
        """Send the watches the Deployment that a queued run depends on."""
        metadata = {"name": _dependency(1 + number % self._count), "uid": f"deployment-{number}", "generation": 1}
        status: dict[str, Any] = {"observedGeneration": 1, "readyReplicas": int(ready)}
        status["conditions"] = [{"type": "Available", "status": str(ready)}]
        metadata["resourceVersion"] = str(self.next_version())
        self._send("deployments", "MODIFIED", {"metadata": metadata, "spec": {"replicas": 1}, "status": status})

    def _send(self, resource: str, kind: str, found: dict[str, Any]) -> None:
        line = json.dumps({"type": kind, "object": found}).encode() + b"\n"
        with self._lock:
            for watch in self._watches[resource]:
                watch.put(line)

    @contextmanager
    def watching(self, resource: str) -> Iterator["queue.SimpleQueue[bytes]"]:
        """Open a watch; yield its events."""
        events: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        with self._lock:
            self._watches[resource].append(events)
        if resource == "jobs":
            self.watched.set()
        try:
            yield events
        finally:
            with self._lock:
                self._watches[resource].remove(events)


def _dependency(number: int) -> str:
    return f"dependency-{number}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StandIn

    def do_GET(self) -> None:
        """Answer a list, a watch, or the Lease."""
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        parts = url.path.strip("/").split("/")
        resource = parts[-1] if parts[-1] in _KINDS else parts[-2]
        if resource == _LEASE and self.server.lease is not None:
            self._answer(200, self.server.lease)
        elif resource not in _KINDS:
            self._answer(404, {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404})
        elif "watch" in query:
            self._watch(resource, float(query.get("timeoutSeconds", "60")))
        else:
            self._answer(200, self.server.page(resource, int(query.get("continue", "0")), int(query.get("limit", "0"))))

    def do_POST(self) -> None:
        """Store a Lease, and accept everything else."""
        self._store()

    def do_PUT(self) -> None:
        """Store the Lease."""
        self._store()

    def _store(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body["metadata"]["resourceVersion"] = str(self.server.next_version())
        if f"/{_LEASE}" in self.path:
            self.server.lease = body
        self._answer(201 if self.command == "POST" else 200, body)

    def _watch(self, resource: str, seconds: float) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        end = time.monotonic() + seconds
        with self.server.watching(resource) as events:
            while (left := end - time.monotonic()) > 0:
                try:
                    line = events.get(timeout=left)
                except queue.Empty:
                    break
                self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def _answer(self, status: int, document: dict[str, Any]) -> None:
        text = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@contextmanager
def serve(count: int) -> Iterator[StandIn]:
    """Serve a queue of `count` runs from threads of this process."""
    with StandIn(count) as server:
        thread = threading.Thread(target=server.serve_forever, name="stand-in")
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
