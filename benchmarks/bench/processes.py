"""Memory (MiB) and CPU time (seconds) of processes, from /proc."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Memory:
    """The memory of one or several processes.

    Attributes:
        pss_mib: the proportional set size: private memory, and a proportional part of shared memory.
        uss_mib: the unique set size: private memory.
    """

    pss_mib: float = 0.0
    uss_mib: float = 0.0

    def __add__(self, other: "Memory") -> "Memory":
        return Memory(self.pss_mib + other.pss_mib, self.uss_mib + other.uss_mib)


def read_memory(pid: int) -> Memory:
    """Read the memory of a process. Source: https://docs.kernel.org/filesystems/proc.html (smaps_rollup)."""
    kib = {
        name: int(rest.split()[0])
        for name, _, rest in (
            line.partition(":") for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()[1:]
        )
    }
    return Memory(kib["Pss"] / 1024, (kib["Private_Clean"] + kib["Private_Dirty"]) / 1024)


def family(pid: int) -> list[int]:
    """Return a process and its descendants, itself first."""
    parents = {process: parent for process, parent, _ in _list()}
    found = [pid]
    for member in found:  # the list grows during the loop
        found += [process for process, parent in parents.items() if parent == member]
    return found


def read_memory_of(pids: list[int]) -> dict[int, Memory]:
    """Read the memory of processes, without those that have ended meanwhile."""
    found = {}
    for pid in pids:
        try:
            found[pid] = read_memory(pid)
        except (OSError, KeyError):  # the process has ended: the file is missing or empty
            continue
    return found


def read_cpu_seconds(pids: list[int]) -> float:
    """Return the CPU time of processes since their start, without those that have ended."""
    return sum(cpu for _, cpu in _cpu_of(pids))


def find_siblings() -> dict[str, int]:
    """Return the other child processes of this process's parent, by name: the control plane's programs."""
    ours = os.getpid()
    return {name: process for process, parent, name in _list() if parent == os.getppid() and process != ours}


def _cpu_of(pids: list[int]) -> Iterator[tuple[int, float]]:
    for pid in pids:
        try:
            fields = _fields(pid)
        except OSError:
            continue
        yield pid, (int(fields[11]) + int(fields[12])) * _TICK_SECONDS  # utime and stime, see proc(5)


def _list() -> list[tuple[int, int, str]]:
    """Return PID, parent's PID and name of each process."""
    found = []
    for folder in _PROC.iterdir():
        if folder.name.isdigit():
            try:
                name = (folder / "comm").read_text().strip()
                found.append((int(folder.name), int(_fields(int(folder.name))[1]), name))
            except OSError:
                continue
    return found


def _fields(pid: int) -> list[str]:
    """Return the fields of `/proc/PID/stat` after the name, which may contain any character."""
    return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
