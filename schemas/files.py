"""Reading of files that hold a job configuration."""

from pathlib import Path

_MAX_BYTES = 2 * 1024 * 1024
"""The largest file that is read; a ConfigMap holds 1 MiB."""


class UnreadableError(Exception):
    """The file can't be read as text; the message says why, and nothing of what is in it."""


def read_document(path: Path) -> str:
    """Read a file with a job configuration.

    Raises:
        UnreadableError: it isn't there, can't be read, is larger than 2 MiB or isn't UTF-8.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise UnreadableError(f"it is larger than {_MAX_BYTES // 1024 // 1024} MiB")
        return content.decode("utf-8")
    except OSError as error:
        raise UnreadableError(error.strerror or type(error).__name__) from error
    except UnicodeDecodeError as error:
        raise UnreadableError("it is not UTF-8") from error
