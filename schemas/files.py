"""Reading of configuration files."""

from pathlib import Path

_MAX_BYTES = 2 * 1024 * 1024
"""The largest file that is read; a ConfigMap has 1 MiB at most."""


class UnreadableError(Exception):
    """The file cannot be read as text. The message says why, and contains nothing of the file."""


def read_document(path: Path) -> str:
    """Read a configuration file.

    Raises:
        UnreadableError: it does not exist, cannot be read, is larger than 2 MiB or is not UTF-8.
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
