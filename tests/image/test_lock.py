"""The lock files cover all requirements of `setup.cfg` and `pyproject.toml`, with hashes."""

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
    """Return each package's version and the text of its entry."""
    entries = re.split(r"\n(?=\S)", (ROOT / name).read_text("utf-8"))
    found = [(match, entry) for entry in entries if (match := re.match(r"([\w.-]+)==([\w.+!]+)", entry))]
    return {canonicalize_name(match[1]): (Version(match[2]), entry) for match, entry in found}


def read_requirements() -> list[Requirement]:
    """Return the requirements of the service itself."""
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(ROOT / "setup.cfg")
    return [Requirement(line) for line in settings["options"]["install_requires"].split("\n") if line]


def find_dependencies(names: set[str]) -> set[str]:
    """Return the packages with all their transitive dependencies in this environment."""
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


def test_lock__has_every_requirement_in_an_allowed_version() -> None:
    """Fails if `make lock` was not run after a change of `setup.cfg`."""
    lock = locked("requirements.lock")
    for requirement in read_requirements():
        version, _ = lock[canonicalize_name(requirement.name)]
        assert version in requirement.specifier, f"{requirement} is locked as {version}: run `make lock`"


def test_lock__has_every_transitive_dependency() -> None:
    """The image is installed with `--no-deps`, so a missing package would be missing in the image."""
    assert (
        find_dependencies({canonicalize_name(one.name) for one in read_requirements()})
        <= locked("requirements.lock").keys()
    )


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-build.lock"])
def test_lock__has_a_hash_for_every_package_and_no_url(name: str) -> None:
    """Any package index can be used, and only these files are accepted."""
    entries = locked(name)
    assert entries
    assert all("--hash=sha256:" in entry for _, entry in entries.values())
    assert "://" not in (ROOT / name).read_text("utf-8")


def test_build_lock__has_the_build_backend_of_pyproject() -> None:
    (line,) = re.findall(r'^requires = \["(.*)"\]$', Path(ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    requirement = Requirement(line)
    version, _ = locked("requirements-build.lock")[requirement.name]
    assert version in requirement.specifier
