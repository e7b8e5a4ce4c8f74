"""What the kernel counts of the memory of this container, all its processes together."""

from pathlib import Path

from prometheus_client.metrics_core import GaugeMetricFamily

_V2 = Path("/sys/fs/cgroup")
_V1 = Path("/sys/fs/cgroup/memory")

_NO_LIMIT = 1 << 60
"""cgroup v1 writes a number of about that size where there is no limit."""


def read_memory(v2: Path = _V2, v1: Path = _V1) -> tuple[int, int | None] | None:
    """What the container uses and may use, in bytes.

    In use is what the kubelet counts as the working set: without the file pages that the kernel takes back first.

    Args:
        v2: where the files of cgroup v2 are.
        v1: where the files of cgroup v1 are.

    Returns:
        Use and limit, the limit `None` where there is none; `None`: this is no container, or it can't be read.
    """
    for folder, used, limit, reclaimable in (
        (v2, "memory.current", "memory.max", "inactive_file "),
        (v1, "memory.usage_in_bytes", "memory.limit_in_bytes", "total_inactive_file "),
    ):
        try:
            inactive = [line for line in _read(folder / "memory.stat").splitlines() if line.startswith(reclaimable)]
            in_use = int(_read(folder / used)) - int(inactive[0].split()[1])
            text = _read(folder / limit)
            most = None if text == "max" or int(text) > _NO_LIMIT else int(text)
        except (OSError, ValueError, IndexError):
            continue
        return max(0, in_use), most
    return None


def _read(path: Path) -> str:
    return path.read_text("ascii").strip()


def memory_metrics() -> list[GaugeMetricFamily]:
    """The memory as metrics; none outside of containers."""
    found = read_memory()
    if found is None:
        return []
    in_use, limit = found
    families = [
        GaugeMetricFamily("slimfaas_jobs_memory_working_set_bytes", "Memory of this container in use.", value=in_use)
    ]
    if limit is not None:
        families.append(GaugeMetricFamily("slimfaas_jobs_memory_limit_bytes", "Its limit.", value=limit))
    return families
