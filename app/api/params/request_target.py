"""Refuses request targets that a proxy in front of the service may read in another way than the service does.

A proxy that permits `/job/fibonacci` and nothing else compares paths, and most proxies normalise them first. The
service never does. If both read every accepted path alike, no spelling of a path passes a proxy's rule and then names
something else here.
"""

import re

from werkzeug.exceptions import BadRequest, NotFound

_ABSOLUTE = re.compile(r"https?://([^/?#]*)", re.IGNORECASE)

# Other software may decode a path more than once: `%252e` is a dot to it, too.
_DOT_SEGMENT = re.compile(r"/(?:\.|%(?:25)*2e){1,2}(?:(?:;|%(?:25)*3b)[^/]*)?(?=/|\Z)", re.IGNORECASE)
_SEPARATOR = re.compile(r"\\|%(?:25)*(?:2f|5c)", re.IGNORECASE)

_FIXED_SEGMENTS = 2
"""How many segments of the path of a POST are names of the service. What follows is data for the run."""


def check_target(method: str, target: str, host: str | None) -> None:
    """Refuse a request target that could be read in several ways.

    Args:
        method: the request's method.
        target: the target as in the request line.
        host: the `Host` header; `None` if absent.

    Raises:
        BadRequest: the path has a dot segment, an encoded slash, a backslash, a NUL or bytes that are not UTF-8, each
            plain or encoded; a name of the service is written with percent-encoding; the target has a fragment or bytes
            that are not ASCII, names another host than the `Host` header, or is of another form.
        NotFound: the path begins with two slashes. Werkzeug would drop one, so that `//job/x` were another spelling of
            `/job/x`.
    """
    if "#" in target:
        raise BadRequest("the URL has a fragment (#), which a request must not contain")
    absolute = _ABSOLUTE.match(target)
    if absolute is None and target[:1] != "/" and target != "*":
        raise BadRequest("the request target is neither a path nor a URL of http or https")
    if absolute is not None:
        if absolute[1].lower() != (host or "").strip(" \t").lower():
            raise BadRequest("the URL names another host than the header Host")
        target = target[absolute.end() :] or "/"
    path = target.partition("?")[0]
    if _DOT_SEGMENT.search(path):
        raise BadRequest("the path has a dot segment (. or ..), which proxies resolve and this service does not")
    if _SEPARATOR.search(path):
        raise BadRequest(
            "the path has a backslash or an encoded slash (%2F, %5C), which decoding would turn into a separator"
        )
    if not target.isascii() or not _is_decodable(path):
        raise BadRequest("the URL has a NUL or bytes that are not UTF-8")
    names = path.split("/")[1 : 1 + _FIXED_SEGMENTS] if method == "POST" else [path]
    if any("%" in name for name in names):
        raise BadRequest("the path has a name with percent-encoding (%), which no name of this service needs")
    if path.startswith("//"):
        raise NotFound("the path begins with two slashes; no path of this service does")


def _is_decodable(path: str) -> bool:
    """Return whether percent-decoding gives UTF-8 without a NUL; `%` before other than two digits stays as it is."""
    data = re.sub(rb"%([0-9A-Fa-f]{2})", lambda found: bytes([int(found[1], 16)]), path.encode())
    try:
        return "\0" not in data.decode("utf-8")
    except UnicodeDecodeError:
        return False
