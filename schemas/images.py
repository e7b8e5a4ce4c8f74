"""The syntax of container image references, and the patterns of `ImagesWhitelist`."""

import re

from schemas import wildcards

_MAX_LENGTH = 512
"""Enough for a repository (255 characters at most), tag (128) and digest. Longer texts are refused unmatched."""

# The grammar and the names are those of github.com/distribution/reference.
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
    """Return whether the text is an image reference: `[registry/]repository[:tag][@digest]`."""
    return len(text) <= _MAX_LENGTH and _REFERENCE.fullmatch(text) is not None


def is_image_pattern(text: str) -> bool:
    """Return whether the text can match an image: it has only characters of image references, and `*`."""
    return len(text) <= _MAX_LENGTH and _PATTERN.fullmatch(text) is not None


def matches(pattern: str, image: str) -> bool:
    """Return whether the pattern matches the image.

    - `*` matches any characters, or none, within one path segment, tag or digest, but not `/`, `:` or `@`. A pattern
      without a tag matches no image with a tag.
    - Every other character matches itself; upper and lower case differ.
    - The time is proportional to the lengths, for every pattern.
    """
    pattern_pieces, image_pieces = _SEPARATORS.split(pattern), _SEPARATORS.split(image)
    return len(pattern_pieces) == len(image_pieces) and all(map(wildcards.matches, pattern_pieces, image_pieces))


def split_tag(pattern: str) -> tuple[str, str]:
    """Split an image or a pattern into its repository, and its tag and digest with the `:` or `@` before them."""
    last_segment = pattern.rfind("/") + 1
    places = [pattern.find(separator, last_segment) for separator in ":@"]
    end = min((place for place in places if place >= 0), default=len(pattern))
    return pattern[:end], pattern[end:]


def is_allowed(image: str, *, default: str, whitelist: tuple[str, ...]) -> bool:
    """Return whether a request may name this image: the definition's own, or one that the whitelist matches."""
    return image == default or any(matches(pattern, image) for pattern in whitelist)
