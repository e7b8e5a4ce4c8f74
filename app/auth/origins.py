"""Decides whether a web page of another site has made a browser send a request.

Any page can make its reader's browser send requests to any address that the browser reaches, also in an internal
network. Two headers, which a page can't set, show this. `Sec-Fetch-Site` (https://www.w3.org/TR/fetch-metadata/) tells
how the page relates to the service. `Origin` (RFC 6454) names the page's site. Programs send neither header, and are
not restricted.
"""

import re
from dataclasses import dataclass
from ipaddress import ip_address

from app.auth.addresses import read_address
from app.common.errors import ErrorKind, ServiceError

_HOST = r"(?:[a-z0-9_](?:[a-z0-9_.-]{0,253}[a-z0-9_.])?|\[[0-9a-f:.]{2,45}\])"
_ORIGIN = re.compile(rf"(?P<scheme>https?)://(?P<host>{_HOST})(?::(?P<port>[0-9]{{1,5}}))?", re.IGNORECASE | re.ASCII)
_AUTHORITY = re.compile(rf"(?P<host>{_HOST})(?::(?P<port>[0-9]{{1,5}}))?", re.IGNORECASE | re.ASCII)
_DEFAULT_PORTS = {"http": "80", "https": "443"}

_OWN_SITES = frozenset({"same-origin", "none"})
"""The values of `Sec-Fetch-Site` for a page of this service, and for a URL that a person has typed. `same-site` counts
as foreign: `http://localhost:3000` and `http://localhost:5000` are one site, and so are all hosts of a company."""


class ForeignOriginError(ServiceError):
    """The request comes from a page of another site."""

    kind = ErrorKind.FORBIDDEN
    detail = "the request comes from a web page of another origin, which SLIMFAAS_ALLOWED_ORIGINS does not name"


class ForeignHostError(ServiceError):
    """The request names a host that is not one of this service's."""

    kind = ErrorKind.FORBIDDEN
    detail = "the request is for a host that is not one of this service's; SLIMFAAS_ALLOWED_HOSTS names further ones"


def parse_origin(text: str) -> str:
    """Return an origin as browsers write it: in lower case, without its scheme's default port.

    Raises:
        ValueError: the text is not the origin of an HTTP URL.
    """
    found = _ORIGIN.fullmatch(text)
    if found is None:
        raise ValueError(text)
    scheme, host = found["scheme"].lower(), found["host"].lower()
    port = "" if found["port"] in (None, _DEFAULT_PORTS[scheme]) else f":{int(found['port'])}"
    return f"{scheme}://{host}{port}"


def parse_host(text: str) -> str:
    """Return the host name of a `Host` header: in lower case, without port, final dot or brackets.

    Raises:
        ValueError: the text is not a host name or address, with or without a port.
    """
    found = _AUTHORITY.fullmatch(text)
    if found is None:
        raise ValueError(text)
    return found["host"].lower().rstrip(".").strip("[]")


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowserRequest:
    """What a request says about the page that has sent it. A header that was sent several times has a comma.

    Attributes:
        method: its method.
        host: the public host of the service, with its port: the `Host` header, or what a trusted proxy says.
        origin: the `Origin` header; `None` if absent.
        site: the `Sec-Fetch-Site` header; `None` if absent.
        mode: the `Sec-Fetch-Mode` header; `None` if absent.
        destination: the `Sec-Fetch-Dest` header; `None` if absent.
    """

    method: str
    host: str
    origin: str | None = None
    site: str | None = None
    mode: str | None = None
    destination: str | None = None


def is_foreign(request: BrowserRequest) -> bool:
    """Return whether a page of another origin has sent the request.

    `Sec-Fetch-Site` decides if it is there. Browsers send it over HTTPS and to localhost only. Without it, `Origin` is
    compared with the service's own host. The scheme is not compared, because a proxy may have ended TLS.
    """
    if request.site is not None:
        return request.site not in _OWN_SITES and not _is_navigation(request)
    return request.origin is not None and not _is_same_host(request.origin, request.host)


def _is_navigation(request: BrowserRequest) -> bool:
    """Return whether a person has followed a link to the service. The page with the link can't read the response.

    The destination of a frame or an embedded object is not `document`.
    """
    return (
        request.method in ("GET", "HEAD")
        and request.origin is None
        and (request.mode, request.destination) == ("navigate", "document")
    )


def _is_same_host(origin: str, host: str) -> bool:
    try:
        parsed = parse_origin(origin)
        return parsed == parse_origin(f"{parsed.partition('://')[0]}://{host}")
    except ValueError:  # also `null`, the origin of sandboxed frames and files
        return False


def is_own_host(host: str | None, listener: str, allowed: frozenset[str]) -> bool:
    """Return whether a request may name this host.

    This prevents DNS rebinding: a site lets its DNS name point at this service, and then the browser takes the site's
    page for one of the service. Only the host's name shows the difference. An IP address needs no DNS, so it is always
    accepted.

    Args:
        host: the `Host` header; `None` if absent, which no browser does.
        listener: the address that the service listens on.
        allowed: host names as `parse_host` returns them. If there are none, any name is accepted, unless the service
            listens on loopback: then only names of localhost are.
    """
    address = read_address(listener)
    if host is None or not (allowed or (address is not None and address.is_loopback)):
        return True
    try:
        name = parse_host(host)
    except ValueError:
        return False
    return name in allowed or name == "localhost" or name.endswith(".localhost") or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
