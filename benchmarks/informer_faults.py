"""Measure how a watch recovers from faults: `python -m benchmarks.informer_faults KIND …`.

KIND is `own` (the service's reflector), `informer` (the client's `SharedInformer` as documented) or `bounded-informer`
(the same with a read timeout, which its documentation does not mention). Each has its own fault proxy.
"""

import argparse
import functools
import logging
import os
import secrets
import time
from typing import Any, Protocol

from kubernetes.client import Configuration

from app.common.types import Json
from app.kube.call_timeouts import CONNECT_SECONDS
from app.kube.client import NamespacedClient
from app.kube.reflector import SILENCE_SECONDS, Reflector
from benchmarks.target import build_sample, open_namespace, open_proxy, read_configuration, report, wait_until
from tests.support.faults import Fault, FaultProxy, Refuse, Request

OUTAGE_SECONDS = 5.0
_NOTICE_SECONDS = 20.0


class Cache(Protocol):
    """A cache of Jobs."""

    def start(self) -> None:
        """Begin to list and watch."""

    def names(self) -> set[str]:
        """Return the names of the cached Jobs."""


class Own:
    """The service's reflector."""

    def __init__(self, namespace: NamespacedClient) -> None:
        self._names: set[str] = set()
        self._reflector: Reflector[str] = Reflector(
            namespace, namespace.runs, lambda job: str(job["metadata"]["name"]), self, name="runs"
        )

    def start(self) -> None:
        """Start the reflector."""
        self._reflector.start()

    def names(self) -> set[str]:
        """Return the names of the cached Jobs."""
        return set(self._names)

    def replace(self, records: list[str], _version: int) -> None:
        """Replace the cached names."""
        self._names = set(records)

    def put(self, record: str) -> None:
        """Add a name."""
        self._names = self._names | {record}

    def remove(self, record: str) -> None:
        """Remove a name."""
        self._names = self._names - {record}


class Informer:
    """The client's informer.

    Args:
        read_seconds: a read timeout for its calls; `None` for none, as documented.
    """

    def __init__(self, configuration: Configuration, namespace: NamespacedClient, read_seconds: float | None) -> None:
        from kubernetes.client import ApiClient, BatchV1Api
        from kubernetes.informer import SharedInformer

        listing: Any = BatchV1Api(ApiClient(configuration)).list_namespaced_job
        if read_seconds is not None:
            listing = functools.partial(listing, _request_timeout=(CONNECT_SECONDS, read_seconds))
        make: Any = SharedInformer  # the client has no annotations here
        self._informer: Any = make(listing, namespace=namespace.name, label_selector=namespace.runs.label_selector)

    def start(self) -> None:
        """Start the informer."""
        self._informer.start()

    def names(self) -> set[str]:
        """Return the names of the cached Jobs."""
        return {key.partition("/")[2] for key in self._informer.cache.list_keys()}


class _Lines(logging.Handler):
    """Counts log records."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1


class Trial:
    """A cache behind a fault proxy, exposed to one fault after another.

    Args:
        cache: the cache.
        proxy: the fault proxy.
        direct: the namespace without the proxy.
        observe_seconds: the limit for noticing a silent connection.
    """

    def __init__(self, cache: Cache, proxy: FaultProxy, direct: NamespacedClient, observe_seconds: float) -> None:
        self._cache = cache
        self._proxy = proxy
        self._direct = direct
        self._observe_seconds = observe_seconds
        self._lines = _Lines()
        logging.getLogger().addHandler(self._lines)

    def run(self) -> dict[str, float | None]:
        """Inject all faults; return figures, in seconds unless their name says otherwise, `None` for a timeout."""
        self._cache.start()
        self._require_cached(self._create())
        figures: dict[str, float | None] = {"cut_seconds": self._cut()}
        figures |= self._refuse_and_expire()
        figures |= self._close_port()
        figures["silence_seconds"] = self._silence()
        return figures

    def _cut(self) -> float | None:
        self._proxy.cut_watches()
        return self._await_cached(self._create(), _NOTICE_SECONDS)

    def _refuse_and_expire(self) -> dict[str, float | None]:
        """Refuse every watch with 503 for a while, then expire the history, which contained a deletion."""
        lost = self._create()
        self._require_cached(lost)
        away = self._proxy.add(Fault(Refuse(503, "ServiceUnavailable"), when=_is_watch, times=None))
        self._proxy.cut_watches()
        time.sleep(OUTAGE_SECONDS)
        calls = self._proxy.hits(away)
        self._delete(lost)
        gone = self._proxy.add(Fault(Refuse(410, "Expired"), when=_is_watch, times=1))
        self._proxy.remove(away)
        name = lost["metadata"]["name"]
        seconds = wait_until(lambda: name not in self._cache.names(), _NOTICE_SECONDS)
        assert self._proxy.hits(gone) == 1
        return {"calls_while_503": calls, "expired_seconds": seconds}

    def _close_port(self) -> dict[str, float | None]:
        """Refuse connections for a while, as during a restart of the API server."""
        self._require_cached(self._create())
        self._proxy.refuse_connections()
        self._proxy.cut_all()
        lines, cpu = self._lines.count, time.process_time()
        time.sleep(OUTAGE_SECONDS)
        lines, cpu = self._lines.count - lines, time.process_time() - cpu
        self._proxy.heal()
        return {
            "lines_while_away": lines,
            "cpu_seconds_while_away": cpu,
            "back_seconds": self._await_cached(self._create(), _NOTICE_SECONDS),
        }

    def _silence(self) -> float | None:
        self._proxy.silence(watches_only=True)
        return self._await_cached(self._create(), self._observe_seconds)

    def _create(self) -> Json:
        return self._direct.create_job(build_sample(secrets.token_hex(6)))

    def _delete(self, job: Json) -> None:
        path = f"{self._direct.runs.path}/{job['metadata']['name']}"
        self._direct.transport.call("DELETE", path, body={"propagationPolicy": "Background"})

    def _await_cached(self, job: Json, timeout_seconds: float) -> float | None:
        name = job["metadata"]["name"]
        return wait_until(lambda: name in self._cache.names(), timeout_seconds)

    def _require_cached(self, job: Json) -> None:
        if self._await_cached(job, _NOTICE_SECONDS) is None:
            raise TimeoutError("the cache is not updated although the API server is healthy")


def _is_watch(request: Request) -> bool:
    return request.watching


def main() -> None:
    """Expose one kind of cache to the faults."""
    parser = argparse.ArgumentParser(description="Faults of a watch.")
    parser.add_argument("kind", choices=["own", "informer", "bounded-informer"])
    parser.add_argument("--kubeconfig", required=True)
    parser.add_argument("--namespace", required=True)
    parser.add_argument("--observe-seconds", type=float, required=True)
    given = parser.parse_args()
    configuration = read_configuration(given.kubeconfig)
    direct = open_namespace(configuration, given.namespace)
    with open_proxy(configuration) as (proxy, proxied):
        cache: Cache
        if given.kind == "own":
            cache = Own(open_namespace(proxied, given.namespace))
        else:
            cache = Informer(proxied, direct, SILENCE_SECONDS if given.kind == "bounded-informer" else None)
        report(**Trial(cache, proxy, direct, given.observe_seconds).run())
    os._exit(0)  # threads that hang or loop must not keep the process alive


if __name__ == "__main__":
    main()
