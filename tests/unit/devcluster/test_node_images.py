"""The table of images."""

import sys
from pathlib import Path

import pytest

from devcluster.node.images import ImageTable, ImageTableError, is_reference, load_table


@pytest.mark.parametrize(
    ("pattern", "image", "matches"),
    [
        ("busybox:*", "busybox:1.36", True),
        ("busybox:*", "busybox", True),
        ("busybox:*", "docker.io/library/busybox:1", True),
        ("busybox:*", "busybox@sha256:" + "0" * 64, True),
        ("busybox:*", "busybox:1@sha256:" + "0" * 64, True),
        ("busybox:*", "other/busybox:1", False),
        ("busybox:*", "busybox2:1", False),
        ("busybox", "busybox:latest", True),
        ("busybox", "busybox:1", False),
        ("team/*:1", "team/tool:1", True),
        ("team/*:1", "team/deep/tool:1", False),
        ("team/*:1", "team/tool:2", False),
        ("team/tool:1.*", "team/tool:1.2", True),
        ("team/tool:1.*", "team/tool:1x2", False),
        ("*/tool:1", "registry:5000/tool:1", True),
        ("registry:5000/tool:*", "registry:5000/tool:2", True),
    ],
)
def test_entrypoint__star_matches_within_a_segment_or_the_tag(pattern: str, image: str, matches: bool) -> None:
    """Other names of the same image match as well."""
    table = ImageTable({pattern: ["x"]})
    assert (table.entrypoint(image) == ["x"]) is matches


def test_load_table__contains_the_built_in_images() -> None:
    """The Fibonacci program runs with this Python; busybox has no entrypoint; other images are unknown."""
    table = load_table(None)
    entrypoint = table.entrypoint("axaguildev/fibonacci-batch:1.0.1")
    assert entrypoint is not None
    assert entrypoint[0] == sys.executable
    assert Path(entrypoint[-1]).is_file()
    assert table.entrypoint("busybox:1") == []
    assert table.entrypoint("nginx:1") is None


def test_load_table__rows_of_a_file_come_first(tmp_path: Path) -> None:
    path = tmp_path / "images.json"
    path.write_text('{"busybox:2": ["{python}", "-V"], "tool:*": ["/bin/tool"]}')
    table = load_table(path)
    assert table.entrypoint("busybox:2") == [sys.executable, "-V"]
    assert table.entrypoint("busybox:1") == []
    assert table.entrypoint("tool:9") == ["/bin/tool"]


@pytest.mark.parametrize("content", ["", "[]", '{"a": "b"}', '{"a": [1]}'])
def test_load_table__error_names_the_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "images.json"
    path.write_text(content)
    with pytest.raises(ImageTableError, match=r"images\.json: "):
        load_table(path)
    with pytest.raises(ImageTableError, match="none"):
        load_table(tmp_path / "none")


@pytest.mark.parametrize(
    ("image", "valid"),
    [
        ("busybox", True),
        ("localhost:5000/a/b_c/d-e:v1.0", True),
        ("Example.com/a:1", True),
        ("Busybox", False),
        ("a//b", False),
        ("a:", False),
        ("a b", False),
        ("a@sha256:short", False),
    ],
)
def test_is_reference__refuses_invalid_image_names(image: str, valid: bool) -> None:
    """As a kubelet does."""
    assert is_reference(image) is valid
