"""Create control groups (cgroups v1 and v2) with a container's limits, where the machine allows it."""

import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_PERIOD_US = 100_000


class NoControlGroupError(Exception):
    """No control group can be created on this machine; the message says why."""


@dataclass(frozen=True)
class ControlGroup:
    """A control group with a memory and a CPU limit.

    Attributes:
        folders: the group's folder in each hierarchy; the first is the memory controller's.
        unified: whether this is cgroups v2.
    """

    folders: tuple[Path, ...]
    unified: bool

    def prefix(self) -> tuple[str, ...]:
        """Return a command prefix that runs a command and its children in the group."""
        script = 'n=$1; shift; while [ "$n" -gt 0 ]; do echo $$ >"$1" || exit 1; shift; n=$((n-1)); done; exec "$@"'
        files = [str(folder / "cgroup.procs") for folder in self.folders]
        return ("/bin/sh", "-c", script, "sh", str(len(files)), *files)

    def usage_mib(self) -> float:
        """Return the memory charged to the group in MiB, page cache included."""
        return self._number("memory.current" if self.unified else "memory.usage_in_bytes") / 2**20

    def peak_mib(self) -> float | None:
        """Return the peak of `usage_mib`; `None` where the kernel does not report it (v2 before Linux 5.19)."""
        try:
            return self._number("memory.peak" if self.unified else "memory.max_usage_in_bytes") / 2**20
        except FileNotFoundError:
            return None

    def working_set_mib(self) -> float:
        """Return the usage without inactive page cache: the figure of `kubectl top` and of the kubelet's evictions."""
        inactive = self._statistics()["inactive_file" if self.unified else "total_inactive_file"]
        return self.usage_mib() - inactive / 2**20

    def anonymous_mib(self) -> float:
        """Return the anonymous memory in MiB, which cannot be reclaimed without swap."""
        return self._statistics()["anon" if self.unified else "total_rss"] / 2**20

    def kills(self) -> int:
        """Return the number of processes that the OOM killer ended."""
        file = "memory.events" if self.unified else "memory.oom_control"
        return int(self._fields(file).get("oom_kill", 0))

    def throttled_seconds(self) -> float:
        """Return how long the CPU limit throttled the group's threads, summed over all threads."""
        if self.unified:
            return self._fields("cpu.stat")["throttled_usec"] / 1e6
        lines = (self.folders[-1] / "cpu.stat").read_text().splitlines()
        return int(dict(line.split() for line in lines)["throttled_time"]) / 1e9

    def _number(self, file: str) -> int:
        return int((self.folders[0] / file).read_text())

    def _statistics(self) -> dict[str, int]:
        return self._fields("memory.stat")

    def _fields(self, file: str) -> dict[str, int]:
        return {name: int(value) for name, value in map(str.split, (self.folders[0] / file).read_text().splitlines())}


@contextmanager
def control_group(memory_bytes: int, cores: float) -> Iterator[ControlGroup]:
    """Create a group with these limits, and remove it at the end.

    Raises:
        NoControlGroupError: the group cannot be created.
    """
    name = f"slimfaas-test-{secrets.token_hex(4)}"
    with ExitStack() as cleanup:
        try:
            if (_ROOT / "cgroup.controllers").exists():
                group = ControlGroup((_ROOT / name,), unified=True)
            else:
                group = ControlGroup((_ROOT / "memory" / name, _ROOT / "cpu" / name), unified=False)
            for folder in group.folders:
                folder.mkdir()
                cleanup.callback(_remove, folder)
            _limit(group, memory_bytes, cores)
        except (OSError, ValueError) as error:
            raise NoControlGroupError(f"cannot create a control group: {error}") from error
        yield group


def _limit(group: ControlGroup, memory_bytes: int, cores: float) -> None:
    memory, quota_us = str(memory_bytes), int(cores * _PERIOD_US)
    if group.unified:
        (group.folders[0] / "memory.max").write_text(memory)
        (group.folders[0] / "cpu.max").write_text(f"{quota_us} {_PERIOD_US}")
        return
    (group.folders[0] / "memory.limit_in_bytes").write_text(memory)
    (group.folders[1] / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
    (group.folders[1] / "cpu.cfs_quota_us").write_text(str(quota_us))


def _remove(folder: Path) -> None:
    for _ in range(50):  # a killed process leaves the group a moment later
        with suppress(OSError):
            folder.rmdir()
            return
        time.sleep(0.1)
