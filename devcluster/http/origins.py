"""Who may call: only those who mean this server. Web pages don't.

Nobody has to authenticate here, and a pod is a process of the user who started the cluster. So a page that this user
visits must not be able to talk to it: not from its own origin, and not under a name of its own that its DNS points at
this machine (https://en.wikipedia.org/wiki/DNS_rebinding). A browser says both in headers that no page can forge.
"""

import ipaddress

from devcluster.errors import ApiError
from devcluster.http.messages import Request


def check_origin(request: Request) -> None:
    """The request is for this server by an address of its own, and comes from no other site.

    Raises:
        ApiError: 403.
    """
    host = request.headers.get("Host", "")
    if not _is_own(_name_in(host), request.server_address):
        raise _forbidden(f"the Host header {host!r} is neither localhost nor this server's address")
    origin = request.headers.get("Origin")
    if origin is not None and origin.lower() != f"http://{host.lower()}":
        raise _forbidden(f"the request comes from another origin: {origin}")


def _name_in(host: str) -> str:
    """Return the name or address in a Host header, without the port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if ":" in host else host


def _is_own(name: str, server_address: str) -> bool:
    if name.lower() in ("localhost", "localhost."):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False  # a name that anybody's DNS may point here
    # The unspecified address is how a kubeconfig names a server that listens everywhere.
    return address.is_loopback or address.is_unspecified or address == ipaddress.ip_address(server_address)


def _forbidden(message: str) -> ApiError:
    return ApiError(403, "Forbidden", f"forbidden: {message}", {})
