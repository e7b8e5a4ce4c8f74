"""Reads the URL that a caller has used from the headers of a trusted proxy."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from app.auth.origins import parse_host
from app.auth.proxy_headers import MalformedHeaderError, read_forwarded

URL_HEADERS = ("X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Prefix", "Forwarded")

_PREFIX = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9_.~-]+){1,20}/?", re.ASCII)
"""A path without empty or dot segments, and without characters that are special to HTML, a shell or a header."""

_MAX_PREFIX_LENGTH = 200


@dataclass(frozen=True, slots=True)
class ForwardedUrl:
    """The parts of the URL that a caller has used, as far as a proxy tells them; `None`: it does not.

    Attributes:
        scheme: `http` or `https`.
        host: the host name, with its port unless that is the scheme's default.
        prefix: the path that the proxy has removed, without a final slash; empty: none.
    """

    scheme: str | None = None
    host: str | None = None
    prefix: str | None = None


def read_forwarded_url(headers: Mapping[str, str]) -> ForwardedUrl:
    """Read what a trusted proxy says about the URL that its client has used.

    Each of `X-Forwarded-Proto`, `X-Forwarded-Host` and `X-Forwarded-Prefix` counts if it has one well-formed value.
    `Forwarded` (RFC 7239) counts if it has one element. A value is ignored if it is malformed, was sent several times,
    or contradicts another header, because a proxy may pass on what its client has sent.

    Args:
        headers: those of `URL_HEADERS` that the request has, by name. If one was sent several times, its values are
            joined by commas.
    """
    forwarded: Mapping[str, str] = {}
    try:
        elements = list(read_forwarded(headers.get("Forwarded", ""))) if "Forwarded" in headers else []
    except MalformedHeaderError:
        elements = []
    if len(elements) == 1:
        [forwarded] = elements

    def find(header: str, parameter: str) -> str | None:
        given = [headers.get(header), forwarded.get(parameter)]
        return _agreed(text.strip(" \t").lower() for text in given if text is not None)

    scheme, host = find("X-Forwarded-Proto", "proto"), find("X-Forwarded-Host", "host")
    return ForwardedUrl(
        scheme=scheme if scheme in ("http", "https") else None,
        host=host if host is not None and _is_host(host) else None,
        prefix=parse_prefix(headers.get("X-Forwarded-Prefix", "").strip(" \t")),
    )


def parse_prefix(text: str) -> str | None:
    """Return a path prefix without its final slash; `None` if the text is not one."""
    if text == "/":
        return ""
    return text.removesuffix("/") if len(text) <= _MAX_PREFIX_LENGTH and _PREFIX.fullmatch(text) else None


def _agreed(values: Iterable[str]) -> str | None:
    found = set(values)
    return found.pop() if len(found) == 1 else None


def _is_host(text: str) -> bool:
    try:
        parse_host(text)
    except ValueError:
        return False
    return True
