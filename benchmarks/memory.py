"""How much memory this process takes, as Linux counts it; all amounts in MiB."""

from pathlib import Path


def read_pss_mib() -> float:
    """The process's proportional set size: what it has alone, and its part of what it shares.

    Source: https://docs.kernel.org/filesystems/proc.html (smaps_rollup).
    """
    return _read_field("smaps_rollup", "Pss")


def read_rss_mib() -> float:
    """All pages of the process that are in memory, those that it shares included."""
    return _read_field("status", "VmRSS")


def read_peak_rss_mib() -> float:
    """The highest that `read_rss_mib` has been since the start, or since `reset_peak`."""
    return _read_field("status", "VmHWM")


def reset_peak() -> None:
    """Count the peak from now on."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _read_field(file: str, field: str) -> float:
    for line in Path("/proc/self", file).read_text("utf-8").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) / 1024
    raise LookupError(f"/proc/self/{file} has no {field}")
