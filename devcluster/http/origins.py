"""Protection against web pages: requests must be addressed to this server and come from its own origin.

The server does not authenticate, and a pod is a process of the user who started the cluster. So a web page that this
user visits must not be able to send requests: neither from its own origin, nor through a host name whose DNS record
points to this machine (https://en.wikipedia.org/wiki/DNS_rebinding). Browsers send both in headers that pages cannot
forge.
"""

import ipaddress

from devcluster.errors import ApiError
from devcluster.http.messages import Request


def check_origin(request: Request) -> None:
    """Check that a request names one of this server's addresses as its host, and comes from no other origin.

    Raises:
        ApiError: 403, it does not.
    """
    host = request.headers.get("Host", "")
    if not _is_own(_name_in(host), request.server_address):
        raise _forbidden(f"the Host header {host!r} is neither localhost nor this server's address")
    origin = request.headers.get("Origin")
    if origin is not None and origin.lower() != f"http://{host.lower()}":
        raise _forbidden(f"the request comes from another origin: {origin}")


def _name_in(host: str) -> str:
    """Return the host name or address in a Host header, without the port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if ":" in host else host


def _is_own(name: str, server_address: str) -> bool:
    if name.lower() in ("localhost", "localhost."):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False  # a DNS name; anyone's may point to this machine
    # A kubeconfig names a server that listens on all addresses by the unspecified address.
    return address.is_loopback or address.is_unspecified or address == ipaddress.ip_address(server_address)


def _forbidden(message: str) -> ApiError:
    return ApiError(403, "Forbidden", f"forbidden: {message}", {})
