"""Check the wheel and the sdist before they are published: `python -m tools.distributions dist [TAG]`.

The wheel must hold the packages with their data and nothing else; the sdist every file that git knows. The wheel
must carry the licence, and a description whose links work outside the repository.
"""

import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Collection, Iterator
from email.message import Message
from email.parser import BytesParser
from pathlib import Path, PurePosixPath

_NOT_IN_SDIST = {".gitignore"}
_CODE = {".py", ".typed", ".json", ".html", ".css", ".js", ".svg"}


def find_errors(wheel: Path, sdist: Path, tracked: Collection[str], tag: str) -> Iterator[str]:
    """Yield what is wrong with a wheel and an sdist.

    Args:
        wheel: the file.
        sdist: the file.
        tracked: the paths of all files that git knows.
        tag: of the release, as `v1.2.3`; empty: none is checked.
    """
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (info,) = {PurePosixPath(name).parts[0] for name in names if ".dist-info/" in name}
        metadata = BytesParser().parsebytes(archive.read(f"{info}/METADATA"))
        packages = set(archive.read(f"{info}/top_level.txt").decode().split())
    yield from _metadata_errors(metadata, tag)
    if f"{info}/licenses/LICENSE" not in names:
        yield f"{wheel.name} lacks the licence"
    wanted = {path for path in tracked if _is_code_of(packages, path)}
    found = {name for name in names if not name.startswith(f"{info}/")}
    yield from (f"{wheel.name} lacks {name}" for name in sorted(wanted - found))
    yield from (f"{wheel.name} must not hold {name}" for name in sorted(found - wanted))

    with tarfile.open(sdist) as archive_:
        held = {str(PurePosixPath(*PurePosixPath(name).parts[1:])) for name in archive_.getnames()}
    yield from (f"{sdist.name} lacks {name}" for name in sorted(set(tracked) - _NOT_IN_SDIST - held))


def _is_code_of(packages: Collection[str], path: str) -> bool:
    first = PurePosixPath(path).parts[0]
    return first.removesuffix(".py") in packages and PurePosixPath(path).suffix in _CODE


def _metadata_errors(metadata: Message, tag: str) -> Iterator[str]:
    if tag and tag != f"v{metadata['Version']}":
        yield f"the tag is {tag}, but the version in setup.cfg is {metadata['Version']}"
    for field in ("License-Expression", "License-File", "Author", "Classifier", "Project-URL", "Summary"):
        if not metadata[field]:
            yield f"the metadata lack {field}"
    description = str(metadata.get_payload())
    for link in re.findall(r"(?:\]\(|src=\"|href=\")([^)\"\s]+)", description):
        if not re.match(r"https?://", link):
            yield f"the description has a link that only works in the repository: {link}"


def main(folder: str, tag: str = "") -> int:
    """Print the errors of the one wheel and the one sdist in a folder; returns 1 if there is one."""
    (wheel,), (sdist,) = Path(folder).glob("*.whl"), Path(folder).glob("*.tar.gz")
    listed = subprocess.run(["git", "ls-files"], stdout=subprocess.PIPE, text=True, check=True)  # noqa: S607
    errors = list(find_errors(wheel, sdist, listed.stdout.splitlines(), tag))
    print(*errors, sep="\n", end="\n" if errors else "")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
