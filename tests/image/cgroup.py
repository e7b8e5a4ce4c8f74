"""A control group that bounds memory and processor time, as a container's limits do, where the machine allows it.

Both versions: https://docs.kernel.org/admin-guide/cgroup-v1/memory.html and .../cgroup-v2.html. Needs to be root.
"""

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_PERIOD_MICROSECONDS = 100_000


class CgroupUnavailable(Exception):
    """No group can be made here; the message says why."""


@dataclass(frozen=True)
class Memory:
    """What a group has used, in bytes.

    Attributes:
        now: all that counts against the limit, files that were read included.
        peak: the most of it so far.
        anonymous: what can't be given back.
        files: what can, of files.
        kernel: page tables, stacks, sockets and the like.
        kills: how many processes were killed for want of memory.
    """

    now: int
    peak: int
    anonymous: int
    files: int
    kernel: int
    kills: int


@dataclass(frozen=True)
class Cgroup:
    """One group.

    Attributes:
        folders: its folder, or one per controller where they have hierarchies of their own.
        unified: whether it is of version 2.
    """

    folders: tuple[Path, ...]
    unified: bool

    @property
    def _memory(self) -> Path:
        return self.folders[0]

    def memory(self) -> Memory:
        """What it has used."""
        read = self._memory.joinpath
        stat = dict(line.split() for line in read("memory.stat").read_text().splitlines())
        if self.unified:
            events = dict(line.split() for line in read("memory.events").read_text().splitlines())
            return Memory(
                now=int(read("memory.current").read_text()),
                peak=int(read("memory.peak").read_text()),
                anonymous=int(stat["anon"]),
                files=int(stat["file"]),
                kernel=int(stat["kernel"]),
                kills=int(events["oom_kill"]),
            )
        control = dict(line.split() for line in read("memory.oom_control").read_text().splitlines())
        return Memory(
            now=int(read("memory.usage_in_bytes").read_text()),
            peak=int(read("memory.max_usage_in_bytes").read_text()),
            anonymous=int(stat["total_rss"]),
            files=int(stat["total_cache"]),
            kernel=int(read("memory.kmem.usage_in_bytes").read_text()),
            kills=int(control.get("oom_kill", 0)),
        )

    def processes(self) -> list[int]:
        """The ids of the processes in it."""
        return [int(line) for line in (self._memory / "cgroup.procs").read_text().split()]


@contextmanager
def limited(memory_bytes: int, cpus: float) -> Iterator[Cgroup]:
    """Make a group with these limits; it is removed in the end, once it is empty.

    Raises:
        CgroupUnavailable: this machine doesn't allow it.
    """
    if os.geteuid() != 0:
        raise CgroupUnavailable("only root may make control groups")
    name = f"slimfaas-test-{secrets.token_hex(4)}"
    unified = (_ROOT / "cgroup.controllers").exists()
    folders = (_ROOT / name,) if unified else (_ROOT / "memory" / name, _ROOT / "cpu" / name)
    limits = {
        True: {
            "memory.max": memory_bytes,
            "memory.swap.max": 0,
            "cpu.max": f"{int(cpus * _PERIOD_MICROSECONDS)} {_PERIOD_MICROSECONDS}",
        },
        False: {
            "memory.limit_in_bytes": memory_bytes,
            "cpu.cfs_period_us": _PERIOD_MICROSECONDS,
            "cpu.cfs_quota_us": int(cpus * _PERIOD_MICROSECONDS),
        },
    }[unified]
    try:
        for folder in folders:
            folder.mkdir()
        if unified:
            (_ROOT / "cgroup.subtree_control").write_text("+memory +cpu")
        for file, value in limits.items():
            folder = next(folder for folder in folders if (folder / file).exists() or file == "memory.swap.max")
            if (folder / file).exists():
                (folder / file).write_text(str(value))
    except (OSError, StopIteration) as error:
        _remove(folders)
        raise CgroupUnavailable(f"no control group with limits: {error}") from error
    try:
        yield Cgroup(folders, unified)
    finally:
        _remove(folders)


def _remove(folders: tuple[Path, ...]) -> None:
    for folder in folders:
        for _ in range(100):  # the last process may still be on its way out
            with contextlib.suppress(FileNotFoundError):
                try:
                    folder.rmdir()
                except OSError:
                    time.sleep(0.05)
                    continue
            break
