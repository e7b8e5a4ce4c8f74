"""Control groups with the limits of a container, where the machine allows them. Both versions of cgroups."""

import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_PERIOD_US = 100_000


class NoControlGroupError(Exception):
    """This machine lets us make none; the message says why."""


@dataclass(frozen=True)
class ControlGroup:
    """Where the limits hold.

    Attributes:
        folders: one for each hierarchy; the first is the memory controller's.
        unified: version 2.
    """

    folders: tuple[Path, ...]
    unified: bool

    def prefix(self) -> tuple[str, ...]:
        """What to put in front of a command to have it, and all that it starts, run in the group from the start."""
        script = 'n=$1; shift; while [ "$n" -gt 0 ]; do echo $$ >"$1" || exit 1; shift; n=$((n-1)); done; exec "$@"'
        files = [str(folder / "cgroup.procs") for folder in self.folders]
        return ("/bin/sh", "-c", script, "sh", str(len(files)), *files)

    def usage_mib(self) -> float:
        """All memory charged to the group, file pages included."""
        return self._number("memory.current" if self.unified else "memory.usage_in_bytes") / 2**20

    def peak_mib(self) -> float | None:
        """The highest that `usage_mib` has been; `None`: the kernel doesn't say (version 2 before Linux 5.19)."""
        try:
            return self._number("memory.peak" if self.unified else "memory.max_usage_in_bytes") / 2**20
        except FileNotFoundError:
            return None

    def working_set_mib(self) -> float:
        """Without file pages that can go at any time: what `kubectl top` shows and the kubelet evicts by."""
        inactive = self._statistics()["inactive_file" if self.unified else "total_inactive_file"]
        return self.usage_mib() - inactive / 2**20

    def anonymous_mib(self) -> float:
        """What can't be dropped without swap."""
        return self._statistics()["anon" if self.unified else "total_rss"] / 2**20

    def kills(self) -> int:
        """How many processes were killed for lack of memory."""
        file = "memory.events" if self.unified else "memory.oom_control"
        return int(self._fields(file).get("oom_kill", 0))

    def throttled_seconds(self) -> float:
        """How long its threads have been kept waiting by the limit of CPU, all together."""
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
    """Make a group with these limits, and remove it once it is empty.

    Raises:
        NoControlGroupError: it can't be made.
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
            raise NoControlGroupError(f"no control group can be made here: {error}") from error
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
    for _ in range(50):  # a killed process leaves it a moment later
        with suppress(OSError):
            folder.rmdir()
            return
        time.sleep(0.1)
