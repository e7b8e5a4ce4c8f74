"""The memory of this process in MiB, from /proc."""

from pathlib import Path


def read_pss_mib() -> float:
    """Return the proportional set size: private memory, and a proportional part of shared memory.

    Source: https://docs.kernel.org/filesystems/proc.html (smaps_rollup).
    """
    return _read_field("smaps_rollup", "Pss")


def read_rss_mib() -> float:
    """Return the resident set size: all resident pages, shared ones included."""
    return _read_field("status", "VmRSS")


def read_peak_rss_mib() -> float:
    """Return the peak of `read_rss_mib` since the start or since `reset_peak`."""
    return _read_field("status", "VmHWM")


def reset_peak() -> None:
    """Reset the peak."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _read_field(file: str, field: str) -> float:
    for line in Path("/proc/self", file).read_text("utf-8").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) / 1024
    raise LookupError(f"/proc/self/{file} has no {field}")
