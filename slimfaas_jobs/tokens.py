"""Bearer tokens from a file, or from a program. They are never part of a message."""

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from slimfaas_jobs.errors import TokenError

Token = str | Callable[[], str]
"""A token, or what returns one. It is called for each request, so that a token that is renewed is used."""

_MAX_BYTES = 64 * 1024
_COMMAND_SECONDS = 120.0


def token_from_file(path: str | Path) -> Callable[[], str]:
    """Return a function that reads a token from a file, such as the projected token of a ServiceAccount."""

    def read() -> str:
        try:
            with Path(path).open("rb") as file:
                return check_token(file.read(_MAX_BYTES), f"the token file {path}")
        except OSError as error:
            raise TokenError(f"cannot read the token file {path}: {error.strerror}") from error

    return read


class token_from_command:  # noqa: N801 - used as a function
    """Return a function that runs a program and reads the token that it prints.

    The program prints a token, or an ExecCredential as credential plugins of kubectl do. It is run once, and again when
    the service refuses the token. Its standard error is this process's.

    Args:
        command: the program and its arguments; no shell is involved.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)
        self._token: str | None = None

    def __call__(self) -> str:
        """Return the token."""
        if self._token is None:
            self._token = self._run()
        return self._token

    def forget(self) -> None:
        """Run the program again for the next request."""
        self._token = None

    def _run(self) -> str:
        name = self._command[0]
        try:
            done = subprocess.run(  # noqa: S603 - the user names the program
                self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=_COMMAND_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise TokenError(f"the token command {name} took longer than {_COMMAND_SECONDS:.0f} s") from None
        except OSError as error:
            raise TokenError(f"cannot start the token command {name}: {error.strerror}") from error
        if done.returncode:
            raise TokenError(f"the token command {name} failed with exit code {done.returncode}")
        return check_token(_printed_token(done.stdout), f"the output of the token command {name}")


def _printed_token(output: bytes) -> bytes:
    if not output.lstrip().startswith(b"{"):
        return output
    try:
        token = json.loads(output)["status"]["token"]
        return token.encode() if isinstance(token, str) else b""
    except (ValueError, LookupError, TypeError):
        return b""


def check_token(token: bytes | str, source: str) -> str:
    """Return a token without surrounding white space.

    Raises:
        TokenError: it is empty, or has characters that no token has.
    """
    text = (token.decode("latin-1") if isinstance(token, bytes) else token).strip()
    if not text or len(text) >= _MAX_BYTES or not all("!" <= character <= "~" for character in text):
        raise TokenError(f"{source} is not a token: one line of visible ASCII characters")
    return text
