"""The images that the node can run: a table from image pattern to the local command that replaces the entrypoint.

A table file is a JSON object, `{"<pattern>": ["<command>", "<argument>", ...], ...}`. A pattern is an image name in
which `*` matches any characters within one path segment or within the tag. Without a tag it means `latest`, as in an
image name. An empty list is an image without an entrypoint: the container's args are the command. In a command,
`{python}` is this Python, and `{programs}` is the folder of the programs that come with the cluster.
"""

import json
import logging
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SHIPPED: Mapping[str, Sequence[str]] = {
    "axaguildev/fibonacci-batch:*": ("{python}", "-I", "-S", "{programs}/fibonacci.py"),
    "busybox:*": (),
}

_log = logging.getLogger(__name__)

_PROGRAMS = Path(__file__).parent / "programs"
_DEFAULT_REGISTRY = re.compile(r"^(docker\.io/|index\.docker\.io/)?(library/)?")
# The grammar of https://github.com/distribution/reference, without its limits on length.
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    r"(?:[A-Za-z0-9.-]+(?::\d+)?/)?"  # registry
    rf"{_COMPONENT}(?:/{_COMPONENT})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?"
    r"(?:@[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[0-9a-fA-F]{32,})?"
)


class ImageTableError(ValueError):
    """A table file that cannot be read or is invalid; the message names the file and the problem."""


def is_reference(image: str) -> bool:
    """Return whether a text is a valid image reference; for any other, a kubelet reports InvalidImageName."""
    return _REFERENCE.fullmatch(image) is not None


@dataclass(frozen=True)
class ImageTable:
    """Rows in order of precedence: the first matching pattern wins."""

    rows: Mapping[str, Sequence[str]]

    def entrypoint(self, image: str) -> list[str] | None:
        """Return the command that replaces the image's entrypoint; None when no row matches."""
        for pattern, command in self.rows.items():
            if _matches(pattern, image):
                return [_fill(word) for word in command]
        return None


class FollowedTable:
    """The table of a file, whose changes count for the containers that start afterwards. Not thread-safe.

    Raises:
        ImageTableError: the file can't be read, or is no table. A later change like that is logged and not taken up.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_when = _last_change(path)
        self._table = load_table(path)

    def entrypoint(self, image: str) -> list[str] | None:
        """The command that stands for the image's entrypoint; None when no row has the image."""
        changed = _last_change(self._path)
        if changed != self._read_when:
            self._read_when = changed
            try:
                self._table = load_table(self._path)
            except ImageTableError as error:
                _log.warning("the table of images stays as it was: %s", error)
        return self._table.entrypoint(image)


def _last_change(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_mtime_ns, found.st_size


def load_table(path: Path | None) -> ImageTable:
    """Load a table file; its rows precede the built-in ones. None loads only the built-in ones.

    Raises:
        ImageTableError: the file cannot be read, or is not a table.
    """
    own: dict[str, Sequence[str]] = {} if path is None else _read(path)
    return ImageTable({**own, **{pattern: row for pattern, row in SHIPPED.items() if pattern not in own}})


def _read(path: Path) -> dict[str, Sequence[str]]:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ImageTableError(f"{path}: {error}") from error
    if not isinstance(table, dict):
        raise ImageTableError(f"{path}: must be a JSON object of image patterns")
    for pattern, command in table.items():
        if not isinstance(command, list) or not all(isinstance(word, str) for word in command):
            raise ImageTableError(f"{path}: {pattern}: the command must be a list of strings")
    return table


def _fill(word: str) -> str:
    return word.replace("{python}", sys.executable).replace("{programs}", str(_PROGRAMS))


def _matches(pattern: str, image: str) -> bool:
    wanted_repository, wanted_tag = _split(pattern)
    repository, tag = _split(image)
    return _matches_part(wanted_repository, repository) and _matches_part(wanted_tag, tag)


def _matches_part(pattern: str, text: str) -> bool:
    expression = "[^/]*".join(re.escape(part) for part in pattern.split("*"))
    return re.fullmatch(expression, text) is not None


def _split(image: str) -> tuple[str, str]:
    """Return repository and tag in their shortest form; `latest` without a tag, the digest if that is given alone."""
    name, _, digest = image.partition("@")
    head, _, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    repository = f"{head}/{last}" if head else last
    return _DEFAULT_REGISTRY.sub("", repository, count=1), tag or digest or "latest"
