"""What is published: one version everywhere, links that work elsewhere, archives that hold what they should."""

import importlib.metadata
import io
import re
import tarfile
import zipfile
from pathlib import Path

import pytest

from setup import make_links_absolute, read_description
from tools.distributions import find_errors

ROOT = Path(__file__).resolve().parents[2]
VERSION = importlib.metadata.version("slimfaas-jobs")
REPOSITORY = importlib.metadata.metadata("slimfaas-jobs")["Home-page"]
TEXTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "k8s").rglob("*.yaml")]


def test_version__is_the_same_wherever_a_reader_copies_it_from() -> None:
    """Docs and manifests name the released image, hook and files."""
    pattern = r"(?:slimfaas-jobs:|rev: v|newTag: |refs/tags/v|slimfaas_jobs-)(\d+\.\d+\.\d+)"
    found = {(text.name, version) for text in TEXTS for version in re.findall(pattern, text.read_text("utf-8"))}
    assert {"SECURITY.md", "ci.md", "operations.md", "kustomization.yaml"} <= {name for name, _ in found}
    assert {version for _, version in found} == {VERSION}


def test_changelog__begins_with_what_is_unreleased_and_then_tells_this_version() -> None:
    """Keep a Changelog's form: dated releases, newest first, and a link for each."""
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    headings = re.findall(r"^## (.*)$", changelog, re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    assert re.fullmatch(rf"\[{re.escape(VERSION)}\] - \d{{4}}-\d\d-\d\d", headings[1])
    for name in re.findall(r"^## \[(.*?)\]", changelog, re.MULTILINE):
        assert re.search(rf"^\[{re.escape(name)}\]: {REPOSITORY}/", changelog, re.MULTILINE), name


@pytest.mark.parametrize(
    ("link", "absolute"),
    [
        ("[a](docs/http.md)", "[a](https://h/o/r/blob/v1/docs/http.md)"),
        ("[a](./docs/http.md#x)", "[a](https://h/o/r/blob/v1/docs/http.md#x)"),
        ("[a](#see-it-work)", "[a](https://h/o/r/blob/v1/README.md#see-it-work)"),
        ("[a](https://e.example/docs)", "[a](https://e.example/docs)"),
        ("![a](docs/a.svg)", "![a](https://h/o/r/raw/v1/docs/a.svg)"),
        ("[![a](docs/a.svg)](docs/b.md)", "[![a](https://h/o/r/raw/v1/docs/a.svg)](https://h/o/r/blob/v1/docs/b.md)"),
        ('<img src="docs/a.svg">', '<img src="https://h/o/r/raw/v1/docs/a.svg">'),
        ('<a href="LICENSE">', '<a href="https://h/o/r/blob/v1/LICENSE">'),
    ],
)
def test_description__has_links_that_work_on_a_package_index(link: str, absolute: str) -> None:
    """Pages are shown, pictures are served as they are."""
    assert make_links_absolute(link, "https://h/o/r", "1") == absolute


def test_description__is_the_readme_with_links_to_this_version() -> None:
    """Each link into the repository names a file that is in it."""
    into = re.findall(rf"{REPOSITORY}/(?:blob|raw)/v{re.escape(VERSION)}/([^)#\"]+)", read_description())
    assert "docs/http.md" in into
    assert all((ROOT / path).exists() for path in into)


TRACKED = ["LICENSE", "README.md", ".gitignore", "app/__init__.py", "app/a.html", "wsgi.py", "tests/test_a.py"]
METADATA = f"""\
Metadata-Version: 2.4
Name: x
Version: 1.0.0
Summary: s
Author: a
License-Expression: MIT
License-File: LICENSE
Project-URL: Source, {REPOSITORY}
Classifier: Typing :: Typed

[a](https://h/o/r/blob/v1/docs/http.md)
"""
WHEEL = {
    "app/__init__.py": "",
    "app/a.html": "",
    "wsgi.py": "",
    "x-1.0.0.dist-info/METADATA": METADATA,
    "x-1.0.0.dist-info/top_level.txt": "app\nwsgi\n",
    "x-1.0.0.dist-info/licenses/LICENSE": "",
}
SDIST = ["LICENSE", "README.md", "app/__init__.py", "app/a.html", "wsgi.py", "tests/test_a.py", "PKG-INFO"]


def errors(folder: Path, wheel: dict[str, str], sdist: list[str], tag: str = "") -> list[str]:
    with zipfile.ZipFile(folder / "x.whl", "w") as archive:
        for name, content in wheel.items():
            archive.writestr(name, content)
    with tarfile.open(folder / "x.tar.gz", "w:gz") as archive:
        for name in sdist:
            archive.addfile(tarfile.TarInfo(f"x-1.0.0/{name}"), io.BytesIO())
    return list(find_errors(folder / "x.whl", folder / "x.tar.gz", TRACKED, tag))


def test_archives__that_hold_what_they_should_have_no_errors(tmp_path: Path) -> None:
    """With the tag of their version, too."""
    assert errors(tmp_path, WHEEL, SDIST) == []
    assert errors(tmp_path, WHEEL, SDIST, "v1.0.0") == []


@pytest.mark.parametrize("missing", ["app/__init__.py", "app/a.html", "wsgi.py"])
def test_wheel__that_lacks_a_file_is_an_error(missing: str, tmp_path: Path) -> None:
    """Such as a package, or the page of a package, that setup.cfg forgot."""
    wheel = {name: content for name, content in WHEEL.items() if name != missing}
    assert errors(tmp_path, wheel, SDIST) == [f"x.whl lacks {missing}"]


def test_wheel__without_its_licence_is_an_error(tmp_path: Path) -> None:
    """It must go with every copy."""
    wheel = {name: content for name, content in WHEEL.items() if not name.endswith("/LICENSE")}
    assert errors(tmp_path, wheel, SDIST) == ["x.whl lacks the licence"]


def test_wheel__with_more_than_the_packages_is_an_error(tmp_path: Path) -> None:
    """Tests would be installed beside everybody's own."""
    assert errors(tmp_path, {**WHEEL, "tests/test_a.py": ""}, SDIST) == ["x.whl must not hold tests/test_a.py"]


def test_sdist__that_lacks_a_file_of_the_repository_is_an_error(tmp_path: Path) -> None:
    """Whoever packages it runs the tests from it."""
    sdist = [name for name in SDIST if name != "tests/test_a.py"]
    assert errors(tmp_path, WHEEL, sdist) == ["x.tar.gz lacks tests/test_a.py"]


@pytest.mark.parametrize(
    ("given", "changed", "error"),
    [
        ("License-Expression: MIT\n", "", "the metadata lack License-Expression"),
        ("https://h/o/r/blob/v1/docs/http.md", "docs/http.md", "the description has a link that only works in the rep"),
    ],
)
def test_metadata__that_lack_something_are_an_error(given: str, changed: str, error: str, tmp_path: Path) -> None:
    """They are what a package index shows."""
    name = "x-1.0.0.dist-info/METADATA"
    (found,) = errors(tmp_path, {**WHEEL, name: WHEEL[name].replace(given, changed)}, SDIST)
    assert found.startswith(error)


def test_tag__of_another_version_is_an_error(tmp_path: Path) -> None:
    """Nothing is published under a name that isn't its own."""
    assert errors(tmp_path, WHEEL, SDIST, "v1.0.1") == ["the tag is v1.0.1, but the version in setup.cfg is 1.0.0"]
