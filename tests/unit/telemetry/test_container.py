"""`app.telemetry.container`: memory in use and its limit, read from cgroup files."""

from pathlib import Path

from app.telemetry.container import read_memory


def write_cgroup(folder: Path, **files: str) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text + "\n")
    return folder


def test_read_memory__subtracts_inactive_file_pages_in_cgroup_v2(tmp_path: Path) -> None:
    v2 = write_cgroup(
        tmp_path / "2", memory__current="1000", memory__stat="anon 5\ninactive_file 300", memory__max="max"
    )
    assert read_memory(v2, tmp_path) == (700, None)
    (v2 / "memory.max").write_text("79691776\n")
    assert read_memory(v2, tmp_path) == (700, 79691776)


def test_read_memory__takes_a_limit_of_about_2_to_the_63_as_none_in_cgroup_v1(tmp_path: Path) -> None:
    stat, limit = "inactive_file 1\ntotal_inactive_file 300", str(2**63 - 4096)
    v1 = write_cgroup(tmp_path / "1", memory__usage_in_bytes="1000", memory__stat=stat, memory__limit_in_bytes=limit)
    assert read_memory(tmp_path / "none", v1) == (700, None)
    (v1 / "memory.limit_in_bytes").write_text("2000\n")
    assert read_memory(tmp_path / "none", v1) == (700, 2000)


def test_read_memory__is_none_without_readable_cgroup_files(tmp_path: Path) -> None:
    assert read_memory(tmp_path, tmp_path) is None
    broken = write_cgroup(tmp_path / "2", memory__current="", memory__stat="", memory__max="?")
    assert read_memory(broken, tmp_path) is None
