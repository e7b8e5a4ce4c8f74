"""The memory of the container, as the kernel writes it down."""

from pathlib import Path

from app.telemetry.container import read_memory


def write(folder: Path, **files: str) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text + "\n")
    return folder


def test_version_two_with_and_without_a_limit(tmp_path: Path) -> None:
    """File pages that the kernel takes back first are not in use."""
    v2 = write(tmp_path / "2", memory__current="1000", memory__stat="anon 5\ninactive_file 300", memory__max="max")
    assert read_memory(v2, tmp_path) == (700, None)
    (v2 / "memory.max").write_text("79691776\n")
    assert read_memory(v2, tmp_path) == (700, 79691776)


def test_version_one(tmp_path: Path) -> None:
    """A limit of about 2**63 is none."""
    stat, limit = "inactive_file 1\ntotal_inactive_file 300", str(2**63 - 4096)
    v1 = write(tmp_path / "1", memory__usage_in_bytes="1000", memory__stat=stat, memory__limit_in_bytes=limit)
    assert read_memory(tmp_path / "none", v1) == (700, None)
    (v1 / "memory.limit_in_bytes").write_text("2000\n")
    assert read_memory(tmp_path / "none", v1) == (700, 2000)


def test_outside_of_containers_or_where_nothing_can_be_read_there_is_none(tmp_path: Path) -> None:
    """A scrape is answered all the same."""
    assert read_memory(tmp_path, tmp_path) is None
    broken = write(tmp_path / "2", memory__current="", memory__stat="", memory__max="?")
    assert read_memory(broken, tmp_path) is None
