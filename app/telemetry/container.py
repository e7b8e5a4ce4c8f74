"""The memory of this container, all its processes together, as the kernel counts it."""

from pathlib import Path

from prometheus_client.metrics_core import GaugeMetricFamily

_V2 = Path("/sys/fs/cgroup")
_V1 = Path("/sys/fs/cgroup/memory")

_NO_LIMIT = 1 << 60
"""cgroup v1 writes a larger number when there is no limit."""


def read_memory(v2: Path = _V2, v1: Path = _V1) -> tuple[int, int | None] | None:
    """Return the container's memory in use and its limit, in bytes.

    Memory in use is the kubelet's working set: without inactive file pages, which the kernel reclaims first.

    Args:
        v2: the folder of cgroup v2.
        v1: the folder of cgroup v1's memory controller.

    Returns:
        Use and limit; the limit is `None` if there is none. `None`: not in a container, or the files are unreadable.
    """
    for folder, used, limit, reclaimable in (
        (v2, "memory.current", "memory.max", "inactive_file "),
        (v1, "memory.usage_in_bytes", "memory.limit_in_bytes", "total_inactive_file "),
    ):
        try:
            inactive = [line for line in _read(folder / "memory.stat").splitlines() if line.startswith(reclaimable)]
            in_use = int(_read(folder / used)) - int(inactive[0].split()[1])
            text = _read(folder / limit)
            maximum = None if text == "max" or int(text) > _NO_LIMIT else int(text)
        except (OSError, ValueError, IndexError):
            continue
        return max(0, in_use), maximum
    return None


def _read(path: Path) -> str:
    return path.read_text("ascii").strip()


def memory_metrics() -> list[GaugeMetricFamily]:
    """Return the memory as metrics; none outside of a container."""
    found = read_memory()
    if found is None:
        return []
    in_use, limit = found
    used = "Memory that this container uses, as the kubelet counts it."
    families = [GaugeMetricFamily("slimfaas_jobs_memory_working_set_bytes", used, value=in_use)]
    if limit is not None:
        maximum = "The memory limit of this container."
        families.append(GaugeMetricFamily("slimfaas_jobs_memory_limit_bytes", maximum, value=limit))
    return families
