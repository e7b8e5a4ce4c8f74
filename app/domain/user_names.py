"""Names of users as one word that is safe in annotations, log lines and responses, and still tells users apart.

Kubernetes allows any text as a user's name. An identity provider may pass on what its users have chosen: spaces, line
breaks, thousands of characters.
"""

import hashlib
import re

MAX_LENGTH = 256
"""The longest written name, in characters."""

_DIGEST_MARK = r"\sha256:"
_KEPT = MAX_LENGTH - len(_DIGEST_MARK) - 64

_WRITTEN = re.compile(
    rf"(?:[^\s\\]|\\u\{{[0-9a-f]{{1,6}}\}}){{0,{MAX_LENGTH}}}(?:{re.escape(_DIGEST_MARK)}[0-9a-f]{{64}})?"
)


def write_user_name(name: str) -> str:
    r"""Write a user's name as one word of at most `MAX_LENGTH` characters. Different names give different words.

    Backslashes, spaces and characters that cannot be printed become `\u{hex}`. Of a name that is too long the beginning
    stays, and a digest of the whole name follows; the digest's mark `\s` is in no other written name.
    """
    written = "".join(map(_write_character, name[: MAX_LENGTH + 1]))
    if len(name) <= MAX_LENGTH and len(written) <= MAX_LENGTH:
        return written
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    beginning = re.sub(r"\\[^}]*\Z", "", written[:_KEPT])  # no half of an escape
    return f"{beginning}{_DIGEST_MARK}{digest}"


def read_user_name(written: object) -> str:
    """Return a written name as it stands on a run; empty if there is none, or if `write_user_name` has not made it."""
    if not isinstance(written, str) or len(written) > MAX_LENGTH or not written.isprintable():
        return ""
    return written if _WRITTEN.fullmatch(written) else ""


def _write_character(character: str) -> str:
    keep = character.isprintable() and not character.isspace() and character != "\\"
    return character if keep else f"\\u{{{ord(character):x}}}"
