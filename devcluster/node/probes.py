"""Startup and readiness probes.

See https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/. Containers share the host's
network, so probes connect to 127.0.0.1. Network probes block shared threads, not the loop.
"""

import http.client
import itertools
import signal
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from devcluster.controllers.loop import Loop, Timer
from devcluster.node.processes import Processes
from devcluster.objects import Object

HOST = "127.0.0.1"

_AGENT = "kube-probe/1.37"

OnResult = Callable[[str | None], None]  # called with None for success, else with the error


def check_http(action: Object, port: int, timeout_seconds: float) -> str | None:
    """Run an `httpGet` probe; return None for a status from 200 to 399, else the error."""
    host = action.get("host") or HOST
    connection: http.client.HTTPConnection
    if action.get("scheme", "HTTP") == "HTTPS":
        context = ssl._create_unverified_context()  # noqa: S323  # probes do not verify certificates, as Kubernetes documents
        connection = http.client.HTTPSConnection(host, port, timeout=timeout_seconds, context=context)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=timeout_seconds)
    headers = {"User-Agent": _AGENT, "Accept": "*/*", "Connection": "close"}
    headers |= {header["name"]: header["value"] for header in action.get("httpHeaders") or ()}
    try:
        connection.request("GET", action.get("path") or "/", headers=headers)
        code = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f'Get "{action.get("scheme", "HTTP").lower()}://{host}:{port}{action.get("path") or "/"}": {error}'
    finally:
        connection.close()
    return None if 200 <= code < 400 else f"HTTP probe failed with statuscode: {code}"


def check_tcp(action: Object, port: int, timeout_seconds: float) -> str | None:
    """Run a `tcpSocket` probe; return None for success, else the error."""
    host = action.get("host") or HOST
    try:
        socket.create_connection((host, port), timeout_seconds).close()
    except OSError as error:
        return f"dial tcp {host}:{port}: {error}"
    return None


def port_of(action: Object, container: Object) -> int | None:
    """Return the port of a probe, given as a number or as the name of a container port.

    Returns:
        None when the container has no port of that name.
    """
    port = action["port"]
    if isinstance(port, int):
        return port
    named = (entry["containerPort"] for entry in container.get("ports") or () if entry.get("name") == port)
    return next(named, None)


class Prober:
    """One probe of a container, from its start to its end; only for the loop's thread.

    `name` is the probe's field, such as `readinessProbe`. `report` is called after each probe with whether the
    thresholds count it as successful now, and the error or None.
    """

    _numbers = itertools.count()

    def __init__(
        self,
        loop: Loop,
        processes: Processes,
        pool: ThreadPoolExecutor,
        container: Object,
        name: str,
        variables: dict[str, str],
        folder: Path,
        report: Callable[[bool, str | None], None],
    ) -> None:
        self._loop, self._processes, self._pool = loop, processes, pool
        self._container, self._variables, self._folder = container, variables, folder
        self._report = report
        self._probe: Object = container[name]
        self._is_successful = False
        self._streak = 0  # consecutive results that contradict `_is_successful`
        self._timer: Timer | None = None
        self._is_stopped = False

    def start(self) -> None:
        """Start probing after the initial delay."""
        self._timer = self._loop.after(self._probe.get("initialDelaySeconds", 0), self._check)

    def stop(self) -> None:
        """Stop probing; a pending result is ignored."""
        self._is_stopped = True
        if self._timer:
            self._timer.cancel()

    def _check(self) -> None:
        timeout_seconds: int = self._probe.get("timeoutSeconds", 1)
        if action := self._probe.get("exec"):
            _Command(self._loop, self._processes, timeout_seconds, self._on_result).run(
                f"probe/{next(self._numbers)}", action.get("command") or [], self._variables, self._folder
            )
            return
        for name, check in (("httpGet", check_http), ("tcpSocket", check_tcp)):
            if action := self._probe.get(name):
                port = port_of(action, self._container)
                if port is None:
                    self._on_result(f"couldn't find port: {action['port']}")
                else:
                    self._pool.submit(self._run_check, check, action, port, timeout_seconds)
                return
        self._on_result("this node supports only exec, httpGet and tcpSocket probes")

    def _run_check(
        self, check: Callable[[Object, int, float], str | None], action: Object, port: int, timeout_seconds: float
    ) -> None:
        """Run a network probe, on a thread of the pool."""
        try:
            failure = check(action, port, timeout_seconds)
        except Exception as error:  # no error of a user's probe may end the probing
            failure = str(error)
        self._loop.post(self._on_result, failure)

    def _on_result(self, failure: str | None) -> None:
        if self._is_stopped:
            return
        self._timer = self._loop.after(self._probe.get("periodSeconds", 10), self._check)
        if (failure is None) == self._is_successful:
            self._streak = 0
        else:
            self._streak += 1
            threshold = self._probe.get("failureThreshold", 3) if failure else self._probe.get("successThreshold", 1)
            if self._streak >= threshold:
                self._is_successful, self._streak = failure is None, 0
        self._report(self._is_successful, failure)


class _Command:
    """An `exec` probe: the exit code of its process is the result."""

    def __init__(self, loop: Loop, processes: Processes, timeout_seconds: float, on_result: OnResult) -> None:
        self._loop, self._processes = loop, processes
        self._timeout_seconds, self._on_result = timeout_seconds, on_result
        self._timer: Timer | None = None

    def run(self, name: str, command: list[str], variables: dict[str, str], folder: Path) -> None:
        self._timer = self._loop.after(self._timeout_seconds, self._processes.signal, name, signal.SIGKILL)
        self._processes.launch(name, command, variables, str(folder), None, self)

    def on_started(self, at: float) -> None:
        pass

    def on_refused(self, error: str, at: float) -> None:
        self._end(error)

    def on_exited(self, code: int, at: float) -> None:
        self._end(None if code == 0 else f"the command ended with exit code {code}")

    def _end(self, failure: str | None) -> None:
        if self._timer:
            self._timer.cancel()
        self._on_result(failure)
