"""The image is built of what `setup.cfg` asks for: the lock names all of it, each file by its hash."""

import configparser
import importlib.metadata
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.image.build import ROOT


def locked(name: str) -> dict[str, tuple[Version, str]]:
    """Package -> its version and all that its entry says."""
    entries = re.split(r"\n(?=\S)", (ROOT / name).read_text("utf-8"))
    found = [(match, entry) for entry in entries if (match := re.match(r"([\w.-]+)==([\w.+!]+)", entry))]
    return {canonicalize_name(match[1]): (Version(match[2]), entry) for match, entry in found}


def asked_for() -> list[Requirement]:
    """The requirements of the service itself."""
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(ROOT / "setup.cfg")
    return [Requirement(line) for line in settings["options"]["install_requires"].split("\n") if line]


def needed(names: set[str]) -> set[str]:
    """The packages and, as this environment has them, all that they need in turn."""
    found: set[str] = set()
    while names:
        name = names.pop()
        found.add(name)
        lines = [Requirement(line) for line in importlib.metadata.requires(name) or ()]
        names |= {
            canonicalize_name(one.name) for one in lines if one.marker is None or one.marker.evaluate({"extra": ""})
        }
        names -= found
    return found


def test_the_lock_has_all_that_is_asked_for_in_a_version_that_is_allowed() -> None:
    """`make lock` was run after `setup.cfg` changed."""
    lock = locked("requirements.lock")
    for requirement in asked_for():
        version, _ = lock[canonicalize_name(requirement.name)]
        assert version in requirement.specifier, f"{requirement} is locked as {version}: run `make lock`"


def test_the_lock_has_all_that_is_needed_in_turn() -> None:
    """With `--no-deps`, what is missing would be missing in the image."""
    assert needed({canonicalize_name(one.name) for one in asked_for()}) <= locked("requirements.lock").keys()


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-build.lock"])
def test_each_file_is_known_by_its_hash_and_none_by_its_address(name: str) -> None:
    """Whatever index the builder has, it gets these files or none."""
    entries = locked(name)
    assert entries
    assert all("--hash=sha256:" in entry for _, entry in entries.values())
    assert "://" not in (ROOT / name).read_text("utf-8")


def test_the_build_has_the_build_backend_that_is_asked_for() -> None:
    """`pyproject.toml` says what it takes to build the wheel."""
    (line,) = re.findall(r'^requires = \["(.*)"\]$', Path(ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    requirement = Requirement(line)
    version, _ = locked("requirements-build.lock")[requirement.name]
    assert version in requirement.specifier
