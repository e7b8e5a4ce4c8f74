"""Finds the client's address in the headers of a trusted proxy.

A proxy sets some of three headers, and passes on the others as its client has sent them. Nothing tells which ones the
proxy has set. So all headers that are present must name the same address. A client can forge the others, but not the
one that the proxy sets.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

from app.auth.addresses import Address, Network, is_in, read_address

FORWARDING_HEADERS = ("X-Forwarded-For", "Forwarded", "X-Real-IP")

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110 calls a word a token
_QUOTED = r'"(?:[\t \x21\x23-\x5b\x5d-\x7e]|\\[\t \x21-\x7e])*"'
_PAIR = re.compile(rf"({_TOKEN})=({_TOKEN}|{_QUOTED})")
_SEPARATOR = re.compile(r"[ \t]*([;,])[ \t]*")

# An address with or without a port; IPv6 with a port is in brackets (RFC 7239, section 6; X-Forwarded-For is alike).
_NODE = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::[0-9]{1,5})?|([0-9A-Fa-f:.]+)")

# `unknown` or an obfuscated identifier: RFC 7239, sections 6.2 and 6.3.
_OBFUSCATED = re.compile(r"(?:unknown|_[0-9A-Za-z._-]+)(?::(?:[0-9]{1,5}|_[0-9A-Za-z._-]+))?", re.IGNORECASE)


class MalformedHeaderError(Exception):
    """A forwarding header does not follow its grammar."""


def find_client_address(headers: Mapping[str, str], proxies: Sequence[Network]) -> Address | None:
    """Find the address of the client whose request trusted proxies forwarded.

    Args:
        headers: the forwarding headers of the request, by their name in `FORWARDING_HEADERS`; if a header was sent
            several times, its values are joined by commas, in order.
        proxies: the networks of the trusted proxies.

    Returns:
        The right-most address that is not a trusted proxy's, if all headers agree on it. `None` if there is no header,
        if one is malformed or names only proxies, or if two disagree.
    """
    try:
        found = {_last_non_proxy(_read_chain(name, value), proxies) for name, value in headers.items()}
    except MalformedHeaderError:
        return None
    return found.pop() if len(found) == 1 else None


def _last_non_proxy(chain: Sequence[Address | None], proxies: Sequence[Network]) -> Address | None:
    """Return the right-most address that is not a proxy's. That client may have forged everything left of it."""
    for address in reversed(chain):
        if address is None or not is_in(address, proxies):
            return address
    return None


def _read_chain(name: str, value: str) -> list[Address | None]:
    """Return the addresses that a header names, from left to right; `None` for each that is unknown or obfuscated."""
    if name == "Forwarded":
        nodes = [pairs.get("for", "unknown") for pairs in read_forwarded(value)]
    else:
        nodes = [part.strip(" \t") for part in value.split(",")]
    return [_read_node(node) for node in nodes]


def read_forwarded(value: str) -> Iterator[dict[str, str]]:
    """Yield the parameters of each element of a `Forwarded` header, their names in lower case.

    Grammar: https://www.rfc-editor.org/rfc/rfc7239#section-4.

    Raises:
        MalformedHeaderError: the header does not follow the grammar.
    """
    pairs: dict[str, str] = {}
    offset, text = 0, value.strip(" \t")
    while True:
        pair = _PAIR.match(text, offset)
        if pair is None or pair[1].lower() in pairs:
            raise MalformedHeaderError
        pairs[pair[1].lower()] = _unquote(pair[2])
        offset = pair.end()
        separator = _SEPARATOR.match(text, offset)
        if separator is None and offset < len(text):
            raise MalformedHeaderError
        if separator is None or separator[1] == ",":
            yield pairs
            pairs = {}
        if separator is None:
            return
        offset = separator.end()


def _unquote(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text


def _read_node(text: str) -> Address | None:
    if _OBFUSCATED.fullmatch(text):
        return None
    node = _NODE.fullmatch(text)
    address = read_address(node[1] or node[2] or node[3]) if node else None
    if address is None:
        raise MalformedHeaderError
    return address
