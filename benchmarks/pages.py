"""Measure what open pages at `/ui` cost: memory of the service, and lists at the API server.

    python -m benchmarks.pages [--pages 50] [--seconds 60] [--definitions 10] [--queued 20] [--within 10]

It starts an embedded cluster and one replica without a dispatcher. Every page polls as a browser does (app/api/ui): the
definitions, and a list of runs or a run. The pages of one definition look at the same.
"""

import argparse
import http.client
import random
import tempfile
import threading
import time
from pathlib import Path

from benchmarks.bench.processes import family, read_cpu_seconds, read_memory_of
from tests.support.servers import embedded_server, write_kubeconfig
from tests.support.service import ServiceProcess

_OPEN = {"Cache-Control": "max-stale=0"}
_POLL = {"Cache-Control": "max-stale=110"}
_FILES = ("/ui", "/ui/app.js", "/ui/ui.css", "/ui/definition.js", "/ui/run.js", "/ui/start.js", "/ui/log.js")


class Page(threading.Thread):
    """One page that somebody has opened.

    Args:
        port: of the service.
        paths: what it polls, with the seconds between two polls.
        ends_at: when it is closed (`time.monotonic()`).
    """

    def __init__(self, port: int, paths: dict[str, float], ends_at: float) -> None:
        super().__init__(daemon=True)
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._paths = paths
        self._ends_at = ends_at
        self.ages: list[int] = []

    def run(self) -> None:
        """Open the page, then poll."""
        for path in _FILES:
            self._get(path, {})
        due = {path: time.monotonic() + seconds * random.random() for path, seconds in self._paths.items()}
        for path in self._paths:
            self._get(path, _OPEN)
        while (now := time.monotonic()) < self._ends_at:
            path = min(due, key=lambda one: due[one])
            time.sleep(max(0.0, due[path] - now))
            self.ages.append(self._get(path, _POLL))
            due[path] = time.monotonic() + self._paths[path]

    def _get(self, path: str, headers: dict[str, str]) -> int:
        self._connection.request("GET", path, headers=headers)
        response = self._connection.getresponse()
        response.read()
        assert response.status == 200, (path, response.status)
        return int(response.headers.get("Age", 0))


def count_lists(service: ServiceProcess) -> int:
    """Return how many calls of lists the service has made; a long list takes several."""
    lines = service.get("/metrics").text.splitlines()
    return sum(
        int(float(line.rpartition(" ")[2])) for line in lines if "api_calls_total{" in line and 'verb="list"' in line
    )


def print_figures(figures: dict[str, float]) -> None:
    """Print a figure a line."""
    for name, figure in figures.items():
        print(f"{name:<55}{figure:10.2f}")


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=50)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--definitions", type=int, default=10)
    parser.add_argument("--within", type=float, default=10.0, help="seconds in which the pages are opened")
    parser.add_argument("--queued", type=int, default=20, help="runs of each definition")
    options = parser.parse_args()
    names = [f"job-{number}" for number in range(options.definitions)]
    definition = {"Image": "busybox:1", "Visibility": "Public", "DependsOn": ["nobody"]}
    configuration = {"Configurations": dict.fromkeys(names, definition)}
    with embedded_server() as server, tempfile.TemporaryDirectory() as folder:
        kubeconfig = write_kubeconfig(Path(folder), server, server.create_namespace())
        environment = {"SLIMFAAS_DISPATCHER": "off", "SLIMFAAS_LOG_LEVEL": "warning"}
        with ServiceProcess(kubeconfig, configuration, Path(folder, "log"), **environment) as service:
            runs = {
                name: [service.post(f"/job/{name}").headers["Location"] for _ in range(options.queued)]
                for name in names
            }
            unused, _, _ = _read(service)
            for name in names:  # as programs read, so that what the first request of a kind takes is not the pages'
                for path in ("/jobs/status", f"/job/{name}?limit=50", runs[name][0]):
                    assert service.get(path).status_code == 200
            time.sleep(5)
            memory, lists, processor = _read(service)
            began = time.monotonic()
            pages = []
            for number in range(options.pages):
                name = names[number % len(names)]
                own = f"/job/{name}?limit=50" if number % 2 else runs[name][0]
                pages.append(
                    Page(service.port, {"/jobs/status": 3.0, own: 2.0}, began + options.within + options.seconds)
                )
            for page in pages:
                page.start()
                time.sleep(options.within / len(pages))
            opened_at, opened_lists = time.monotonic(), count_lists(service)
            most = memory
            while time.monotonic() < opened_at + options.seconds:
                time.sleep(0.5)
                most = max(most, _read(service)[0])
            for page in pages:
                page.join()
            seconds, polling_seconds = time.monotonic() - began, time.monotonic() - opened_at
            after, lists_after, processor_after = _read(service)
            ages = sorted(age for page in pages for age in page.ages)
    print_figures(
        {
            "pages": options.pages,
            "polls per second": len(ages) / seconds,
            "calls of lists per second, all pages open": (lists_after - opened_lists) / polling_seconds,
            "calls of lists per second, the opening included": (lists_after - lists) / seconds,
            "memory of a service that nobody has read from, MiB": unused,
            "after reads by a program, on top": memory - unused,
            "with the pages open, on top of that": most - memory,
            "afterwards, on top of that": after - memory,
            "processor": (processor_after - processor) / seconds,
            "age of answers, median, s": ages[len(ages) // 2],
            "age of answers, 95 %, s": ages[len(ages) * 95 // 100],
        }
    )


def _read(service: ServiceProcess) -> tuple[float, int, float]:
    pids = family(service.pid)
    memory = sum(one.uss_mib for one in read_memory_of(pids).values())
    return memory, count_lists(service), read_cpu_seconds(pids)


if __name__ == "__main__":
    main()
