"""Whose call a trusted proxy passes on, by the headers that it writes.

A proxy writes some of three headers, and passes on whatever its client put into the others. Nobody can tell which are
the proxy's own. So a request says who calls only where every header that is there names the same address: a client can
forge some of them, but not make the proxy's own agree.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

from app.auth.addresses import Address, Network, is_in, read_address

FORWARDING_HEADERS = ("X-Forwarded-For", "Forwarded", "X-Real-IP")

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110's word for a word
_QUOTED = r'"(?:[\t \x21\x23-\x5b\x5d-\x7e]|\\[\t \x21-\x7e])*"'
_PAIR = re.compile(rf"({_TOKEN})=({_TOKEN}|{_QUOTED})")
_SEPARATOR = re.compile(r"[ \t]*([;,])[ \t]*")

# An address alone or with a port; IPv6 in brackets where it has one: RFC 7239, section 6, and what X-Forwarded-For has.
_NODE = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::[0-9]{1,5})?|([0-9A-Fa-f:.]+)")

_NAMELESS = re.compile(r"(?:unknown|_[0-9A-Za-z._-]+)(?::(?:[0-9]{1,5}|_[0-9A-Za-z._-]+))?", re.IGNORECASE)


class UnreadableError(Exception):
    """A forwarding header isn't what its form demands."""


def find_caller(headers: Mapping[str, str], proxies: Sequence[Network]) -> Address | None:
    """Whose request a trusted proxy has passed on.

    Args:
        headers: the forwarding headers that the request carries, by their name in `FORWARDING_HEADERS`; the values of
            one that was sent several times are joined by commas, in their order.
        proxies: whose word counts.

    Returns:
        The right-most address that is no trusted proxy's, which all headers agree on. `None`: there is no header, one
        can't be read or names nobody but proxies, or two disagree.
    """
    try:
        found = {_last_but_proxies(_chain(name, value), proxies) for name, value in headers.items()}
    except UnreadableError:
        return None
    return found.pop() if len(found) == 1 else None


def _last_but_proxies(chain: Sequence[Address | None], proxies: Sequence[Network]) -> Address | None:
    """From right to left: what stands left of the first who is no proxy is that one's word."""
    for address in reversed(chain):
        if address is None or not is_in(address, proxies):
            return address
    return None


def _chain(name: str, value: str) -> list[Address | None]:
    """The addresses that a header names, from left to right; `None` where one is withheld."""
    nodes = list(_forwarded_for(value)) if name == "Forwarded" else [part.strip(" \t") for part in value.split(",")]
    return [_read_node(node) for node in nodes]


def _forwarded_for(value: str) -> Iterator[str]:
    """The `for` of each element of a `Forwarded` header: https://www.rfc-editor.org/rfc/rfc7239#section-4.

    Raises:
        UnreadableError: it isn't what the RFC's grammar allows.
    """
    pairs: dict[str, str] = {}
    at, text = 0, value.strip(" \t")
    while True:
        pair = _PAIR.match(text, at)
        if pair is None or pair[1].lower() in pairs:
            raise UnreadableError
        pairs[pair[1].lower()] = _unquote(pair[2])
        at = pair.end()
        separator = _SEPARATOR.match(text, at)
        if separator is None and at < len(text):
            raise UnreadableError
        if separator is None or separator[1] == ",":
            yield pairs.get("for", "unknown")
            pairs = {}
        if separator is None:
            return
        at = separator.end()


def _unquote(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text


def _read_node(text: str) -> Address | None:
    if _NAMELESS.fullmatch(text):
        return None
    node = _NODE.fullmatch(text)
    address = read_address(node[1] or node[2] or node[3]) if node else None
    if address is None:
        raise UnreadableError
    return address
