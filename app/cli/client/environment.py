"""What the client's commands read from the environment.

`app.settings`, which reads the service's, imports marshmallow: too slow for a command at a terminal.
"""

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """Where the service is, and how to call it.

    Attributes:
        url: the service's (`SLIMFAAS_URL`); empty: unknown.
        token_file: a file with a bearer token (`SLIMFAAS_TOKEN_FILE`); `None`: none.
        token_command: a program that prints one, with its arguments (`SLIMFAAS_TOKEN_COMMAND`); empty: none.
        ca_file: certificates of authorities to trust (`SLIMFAAS_CA_FILE`); `None`: the system's.
    """

    url: str = ""
    token_file: str | None = None
    token_command: tuple[str, ...] = ()
    ca_file: str | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "ClientSettings":
        """Read the settings; empty variables count as unset.

        Raises:
            ValueError: the token's command has unbalanced quotes.
        """
        given = os.environ if environment is None else environment
        return cls(
            url=given.get("SLIMFAAS_URL", ""),
            token_file=given.get("SLIMFAAS_TOKEN_FILE") or None,
            token_command=split_command(given.get("SLIMFAAS_TOKEN_COMMAND", "")),
            ca_file=given.get("SLIMFAAS_CA_FILE") or None,
        )


def split_command(text: str) -> tuple[str, ...]:
    """Split a command line as a shell does, without any shell."""
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise ValueError("the token command has unbalanced quotes") from error


def variable(name: str) -> str | None:
    """Return a variable of this process; `None`: it is not set."""
    return os.environ.get(name)


def wants_colours() -> bool:
    """Whether the user permits colours (https://no-color.org)."""
    return not os.environ.get("NO_COLOR") and not is_dumb()


def is_dumb() -> bool:
    """Whether the terminal can't move its cursor."""
    return os.environ.get("TERM", "dumb") == "dumb"
