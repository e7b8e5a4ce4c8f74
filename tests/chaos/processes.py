"""The service under test: two replicas and a stand-alone dispatcher, each behind its own fault proxy, kept running."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.chaos.clock import shift_clock
from tests.chaos.kinds import Kind
from tests.chaos.schedule import SLOTS
from tests.controlplane.components import Reaper
from tests.support.faults import FaultProxy
from tests.support.ports import find_free_port
from tests.support.servers import Server, write_kubeconfig
from tests.support.service import DISPATCH, Program, ServiceProcess

_POLL_SECONDS = 0.05
_RESTART_SECONDS = 0.5
"""The delay before a process is restarted, like a kubelet's."""

LONG_PAUSE_SECONDS = 15.0
"""After a longer pause gunicorn's master may find that its workers sent no heartbeat, and kill them. It permits 30 s
(app/server/gunicorn_conf.py), but on a busy machine the last heartbeat is older than the pause."""

_KILLED = re.compile(r"Worker \(pid:(\d+)\) was sent SIGKILL")
_TIMED_OUT = re.compile(r"WORKER TIMEOUT \(pid:(\d+)\)")

CONFIGURATION: dict[str, Any] = {
    "Configurations": {
        name: {"Image": "busybox:1", "Visibility": "Public", "NumberParallelJob": slots, "BackoffLimit": 0}
        for name, slots in SLOTS.items()
    }
}


@dataclass(frozen=True)
class Member:
    """One part of the service.

    Attributes:
        name: its HOSTNAME, the prefix of its dispatchers' identities.
        program: its processes; those that gunicorn forks die with the first one, as in a container.
        proxy: the fault proxy between it and the API server.
    """

    name: str
    program: Program
    proxy: FaultProxy

    def workers(self) -> list[int]:
        """Return the PIDs of the first process's children."""
        pid = self.program.pid
        try:
            return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        except FileNotFoundError:
            return []


class ServiceProcesses:
    """Two replicas, the second with a shifted clock, and a dispatcher, restarted when they die; a context manager."""

    def __init__(
        self, server: Server, namespace: str, folder: Path, reaper: Reaper, *, workers: int, clock_seconds: int
    ) -> None:
        """Configure the processes, without starting them.

        Args:
            server: the API server.
            namespace: the namespace with the service's ServiceAccount.
            folder: the folder for logs and kubeconfigs.
            reaper: kills the processes that remain when this process is gone.
            workers: the number of workers of each replica.
            clock_seconds: the shift of the second replica's clock.

        Raises:
            NoFakeClockError: clocks cannot be shifted here.
        """

        def make(name: str, proxy: FaultProxy, **environment: str) -> Member:
            kubeconfig = write_kubeconfig(folder, server, namespace, url=proxy.url)
            log = folder / f"{name}.log"
            environment |= {"HOSTNAME": name, "WEB_CONCURRENCY": str(workers)}
            if name != "dispatcher":
                return Member(name, ServiceProcess(kubeconfig, CONFIGURATION, log, **environment), proxy)
            environment |= {"PORT": str(find_free_port())}
            return Member(name, Program(DISPATCH, kubeconfig, CONFIGURATION, log, **environment), proxy)

        proxies = [FaultProxy(server.url, ca=server.ca_file) for _ in range(3)]
        self.replicas = [
            make("replica-a", proxies[0]),
            make("replica-b", proxies[1], **shift_clock(clock_seconds)),
        ]
        self.dispatcher = make("dispatcher", proxies[2])
        self._reaper = reaper
        self.restarts = 0
        self._killed: set[int] = set()
        self._paused_since: dict[int, float] = {}
        self._expected: set[int] = set()
        self._unexpected: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name="supervisor")

    def __enter__(self) -> ServiceProcesses:
        """Start everything, and wait until the replicas are ready."""
        try:
            for member in self.members:
                member.proxy.__enter__()
            for member in self.members:
                self._launch(member)
            for member in self.members:
                if isinstance(member.program, ServiceProcess):
                    member.program.await_ready()
        except BaseException:
            self._end()
            raise
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._end()

    @property
    def members(self) -> list[Member]:
        """The replicas and the dispatcher."""
        return [*self.replicas, self.dispatcher]

    @property
    def urls(self) -> list[str]:
        """The URLs of the replicas."""
        return [member.program.url for member in self.replicas if isinstance(member.program, ServiceProcess)]

    def leader(self, holder: str) -> Member | None:
        """Return the member whose dispatcher holds the Lease and has open watches; `None` if there is none."""
        named = (member for member in self.members if holder.startswith(f"{member.name}_"))
        return next((member for member in named if member.program.running and member.proxy.watches), None)

    def kill(self, kind: Kind, pick: float, holder: str) -> str | None:
        """Kill a process of a kind; return its description, or `None` if there is none at the moment."""
        if kind is Kind.KILL_LEADER:
            leader = self.leader(holder)
            return None if leader is None else self._kill(leader, leader.program.pid, whole=True)
        if kind is Kind.KILL_DISPATCHER:
            return self._kill(self.dispatcher, self.dispatcher.program.pid)
        if kind is Kind.KILL_MASTER:
            member = self.replicas[int(pick * len(self.replicas))]
            return self._kill(member, member.program.pid)
        workers = [(member, pid) for member in self.replicas if member.program.running for pid in member.workers()]
        return self._kill(*workers[int(pick * len(workers))]) if workers else None

    def stop(self, pick: float) -> str | None:
        """Stop a replica with SIGTERM; the supervisor restarts it. Return its name, or `None` if it is not running."""
        member = self.replicas[int(pick * len(self.replicas))]
        if not member.program.running:
            return None
        self._expected.add(member.program.pid)
        member.program.send_signal(signal.SIGTERM)
        return member.name

    def pause(self, member: Member) -> None:
        """Pause all processes of a member with SIGSTOP."""
        now = time.monotonic()
        self._paused_since |= dict.fromkeys(member.workers(), now)
        member.program.send_signal(signal.SIGSTOP, whole=True)

    def resume(self, member: Member) -> None:
        """Let all processes of a member go on; it may have been killed and restarted meanwhile."""
        now = time.monotonic()
        for pid in member.workers():
            if now - self._paused_since.pop(pid, now) > LONG_PAUSE_SECONDS:
                self._killed.add(pid)
        member.program.send_signal(signal.SIGCONT, whole=True)

    def unexpected(self) -> list[str]:
        """Return what no injected fault explains: processes that ended or hung, tracebacks in logs."""
        found = list(self._unexpected)
        for member in self.members:
            found += [f"{member.name}: {what}" for what in find_unexpected(member.program.log_text, self._killed)]
        return found

    def _kill(self, member: Member, pid: int, *, whole: bool = False) -> str | None:
        if not member.program.running:
            return None
        self._killed.add(pid)
        try:
            if whole or pid == member.program.pid:
                self._expected.add(member.program.pid)
            if whole:
                member.program.kill()
            else:
                os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return None
        return f"{member.name}, process {pid}"

    def _supervise(self) -> None:
        while not self._stop.wait(_POLL_SECONDS):
            for member in self.members:
                if not member.program.running:
                    self._restart(member)

    def _restart(self, member: Member) -> None:
        if member.program.pid not in self._expected:
            self._unexpected.append(f"{member.name}: process {member.program.pid} ended by itself")
        member.program.kill()  # its children die with it, as in a container
        self._reaper.forget(member.program.pid)
        self._stop.wait(_RESTART_SECONDS)
        self._launch(member)
        self.restarts += 1

    def _launch(self, member: Member) -> None:
        member.program.launch()
        self._reaper.watch(member.program.pid)

    def _end(self) -> None:
        for member in self.members:
            if member.program.running:
                member.program.kill()
                self._reaper.forget(member.program.pid)
        for member in self.members:
            member.proxy.__exit__(None, None, None)


def find_unexpected(log: str, killed: Collection[int]) -> list[str]:
    """Return what a member's log says that no injected fault explains.

    Args:
        log: the log's text.
        killed: the PIDs of the workers that the suite has killed, or paused for so long that gunicorn may kill them.
    """
    hung = [f"worker {pid} hung" for pid in _TIMED_OUT.findall(log) if int(pid) not in killed]
    dead = [f"worker {pid} was killed, but not by the suite" for pid in _KILLED.findall(log) if int(pid) not in killed]
    return [*hung, *dead, *["a traceback in its log"] * log.count("Traceback (most recent call last)")]
