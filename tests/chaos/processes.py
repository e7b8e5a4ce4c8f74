"""The service under chaos: replicas and a stand-alone dispatcher, each behind a network of its own, kept running."""

from __future__ import annotations

import os
import re
import signal
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.chaos.clock import set_clock_off
from tests.chaos.kinds import Kind
from tests.chaos.schedule import SLOTS
from tests.controlplane.components import Reaper
from tests.support.faults import FaultProxy
from tests.support.servers import Server, write_kubeconfig
from tests.support.service import DISPATCH, Program, ServiceProcess

_LOOK_SECONDS = 0.05
_RESTART_SECONDS = 0.5
"""How long a kubelet takes to start a container anew."""

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
        name: its HOSTNAME, with which the identity of its dispatchers begins.
        program: its processes; those that gunicorn forks die with the first one, as in a container.
        proxy: its way to the API server.
    """

    name: str
    program: Program
    proxy: FaultProxy

    def workers(self) -> list[int]:
        """The processes that its first one has forked."""
        pid = self.program.pid
        try:
            return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        except FileNotFoundError:
            return []


class Fleet:
    """Two replicas, the second one's clock set off, and a dispatcher; started anew when they die. A context manager."""

    def __init__(
        self, server: Server, namespace: str, folder: Path, reaper: Reaper, *, workers: int, clock_seconds: int
    ) -> None:
        """Takes where everything is, and how it is; nothing is started yet.

        Args:
            server: behind each part's own network.
            namespace: with the service's account.
            folder: for logs and kubeconfigs.
            reaper: kills the processes that remain when this process is gone.
            workers: of each replica.
            clock_seconds: by how much the second replica's clock is off.

        Raises:
            NoFakeClockError: no clock can be set off here.
        """

        def make(name: str, proxy: FaultProxy, **environment: str) -> Member:
            kubeconfig = write_kubeconfig(folder, server, namespace, url=proxy.url)
            log = folder / f"{name}.log"
            environment |= {"HOSTNAME": name, "WEB_CONCURRENCY": str(workers)}
            if name != "dispatcher":
                return Member(name, ServiceProcess(kubeconfig, CONFIGURATION, log, **environment), proxy)
            return Member(name, Program(DISPATCH, kubeconfig, CONFIGURATION, log, **environment), proxy)

        proxies = [FaultProxy(server.url, ca=server.ca_file) for _ in range(3)]
        self.replicas = [
            make("replica-a", proxies[0]),
            make("replica-b", proxies[1], **set_clock_off(clock_seconds)),
        ]
        self.dispatcher = make("dispatcher", proxies[2])
        self._reaper = reaper
        self.killed: set[int] = set()
        self.restarts = 0
        self._expected: set[int] = set()
        self._surprises: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name="supervisor")

    def __enter__(self) -> Fleet:
        """Starts everything, and returns when the replicas are ready."""
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
        """All parts."""
        return [*self.replicas, self.dispatcher]

    @property
    def urls(self) -> list[str]:
        """Where the replicas serve."""
        return [member.program.url for member in self.replicas if isinstance(member.program, ServiceProcess)]

    def leader(self, holder: str) -> Member | None:
        """Whose dispatcher holds the Lease and is at work, as its watches show; `None`: nobody's at the moment."""
        named = (member for member in self.members if holder.startswith(f"{member.name}_"))
        return next((member for member in named if member.program.running and member.proxy.watches), None)

    def kill(self, kind: Kind, pick: float, holder: str) -> str | None:
        """Kill what is meant; what it was, or `None` where there is none at the moment."""
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
        """Have a replica end in good order; it is started anew. Which one, or `None` where it doesn't run."""
        member = self.replicas[int(pick * len(self.replicas))]
        if not member.program.running:
            return None
        self._expected.add(member.program.pid)
        member.program.send_signal(signal.SIGTERM)
        return member.name

    def freeze(self, holder: str) -> Member | None:
        """Have all processes of the leader stand still; which one it is, or `None` where it doesn't run."""
        leader = self.leader(holder)
        if leader is None:
            return None
        leader.program.send_signal(signal.SIGSTOP, whole=True)
        return leader

    def surprises(self) -> list[str]:
        """What should not have happened to the processes, whatever was done to them: they ended, hung, or failed."""
        found = list(self._surprises)
        for member in self.members:
            text = member.program.log_text
            found += [f"{member.name}: worker {pid} hung" for pid in _TIMED_OUT.findall(text)]
            found += [
                f"{member.name}: worker {pid} was killed, not by us"
                for pid in _KILLED.findall(text)
                if int(pid) not in self.killed
            ]
            found += [f"{member.name}: a trace in its log"] * text.count("Traceback (most recent call last)")
        return found

    def _kill(self, member: Member, pid: int, *, whole: bool = False) -> str | None:
        if not member.program.running:
            return None
        self.killed.add(pid)
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
        while not self._stop.wait(_LOOK_SECONDS):
            for member in self.members:
                if not member.program.running:
                    self._start_anew(member)

    def _start_anew(self, member: Member) -> None:
        if member.program.pid not in self._expected:
            self._surprises.append(f"{member.name}: process {member.program.pid} ended by itself")
        member.program.kill()  # what it has forked dies with it, as in a container
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
