"""What processes take, as Linux counts it: memory in MiB, CPU time in seconds."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Memory:
    """Of one process or of several.

    Attributes:
        pss_mib: what it has alone, and its part of what it shares.
        uss_mib: what it has alone: what would be free without it.
    """

    pss_mib: float = 0.0
    uss_mib: float = 0.0

    def __add__(self, other: "Memory") -> "Memory":
        return Memory(self.pss_mib + other.pss_mib, self.uss_mib + other.uss_mib)


def read_memory(pid: int) -> Memory:
    """Read one process's: https://docs.kernel.org/filesystems/proc.html (smaps_rollup)."""
    kib = {
        name: int(rest.split()[0])
        for name, _, rest in (
            line.partition(":") for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()[1:]
        )
    }
    return Memory(kib["Pss"] / 1024, (kib["Private_Clean"] + kib["Private_Dirty"]) / 1024)


def family(pid: int) -> list[int]:
    """A process and all that it has started, itself first."""
    parents = {process: parent for process, parent, _ in _list()}
    found = [pid]
    for member in found:  # grows while it is read
        found += [process for process, parent in parents.items() if parent == member]
    return found


def read_memory_of(pids: list[int]) -> dict[int, Memory]:
    """Read several processes' memory, without those that have ended meanwhile."""
    found = {}
    for pid in pids:
        try:
            found[pid] = read_memory(pid)
        except (OSError, KeyError):  # it has ended: there is no file, or nothing in it
            continue
    return found


def read_cpu_seconds(pids: list[int]) -> float:
    """CPU time that processes have taken since they started, without those that have ended."""
    return sum(cpu for _, cpu in _cpu_of(pids))


def find_siblings() -> dict[str, int]:
    """The programs that our own parent has started besides us: the control plane's, by name; none, if it has not."""
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
    """Each process, its parent, and its name."""
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
    """What `/proc/PID/stat` has after the name, which may contain anything."""
    return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
