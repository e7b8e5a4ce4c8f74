"""Container image references: their syntax, and the patterns of `ImagesWhitelist`."""

import re

_MAX_LENGTH = 512
"""Repository (255 characters at most), tag (128) and digest fit; anything longer is refused before it is matched."""

# The grammar of github.com/distribution/reference, whose words these are.
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_DOMAIN = (
    r"(?:(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
    r"(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*|\[[a-fA-F0-9:]+\])(?::[0-9]{1,5})?"
)
_REFERENCE = re.compile(
    rf"(?:{_DOMAIN}/)?{_COMPONENT}(?:/{_COMPONENT})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?"
    r"(?:@[A-Za-z][A-Za-z0-9]*(?:[+._-][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,128})?",
    re.ASCII,
)
_PATTERN = re.compile(r"[A-Za-z0-9*\[][A-Za-z0-9*._:/@+\[\]-]*", re.ASCII)
_SEPARATORS = re.compile(r"([/:@])")


def is_image(text: str) -> bool:
    """Whether the text is an image reference: `[registry/]repository[:tag][@digest]`."""
    return len(text) <= _MAX_LENGTH and _REFERENCE.fullmatch(text) is not None


def is_image_pattern(text: str) -> bool:
    """Whether the text could match any image: only characters that an image has, and `*`."""
    return len(text) <= _MAX_LENGTH and _PATTERN.fullmatch(text) is not None


def matches(pattern: str, image: str) -> bool:
    """Whether an image is one that the pattern approves.

    Guarantees:
        - `*` stands for any characters, none included, within one path segment, one tag or one digest: it never
          crosses `/`, `:` or `@`. A pattern that names no tag matches no image with one.
        - Everything else stands for itself, upper and lower case apart.
        - It takes time proportional to the lengths, whatever the pattern.
    """
    pattern_pieces, image_pieces = _SEPARATORS.split(pattern), _SEPARATORS.split(image)
    return len(pattern_pieces) == len(image_pieces) and all(map(_matches_piece, pattern_pieces, image_pieces))


def _matches_piece(pattern: str, text: str) -> bool:
    first, *others = pattern.split("*")
    if not others:
        return pattern == text
    *middle, last = others
    if not text.startswith(first) or not text.endswith(last) or len(text) < len(first) + len(last):
        return False
    # Taking each literal at its first occurrence leaves the most for those after it, so nothing is tried twice.
    position, end = len(first), len(text) - len(last)
    for literal in middle:
        found = text.find(literal, position, end)
        if found < 0:
            return False
        position = found + len(literal)
    return True


def is_allowed(image: str, *, default: str, whitelist: tuple[str, ...]) -> bool:
    """Whether a request may name this image: the definition's own always, others by the whitelist."""
    return image == default or any(matches(pattern, image) for pattern in whitelist)
