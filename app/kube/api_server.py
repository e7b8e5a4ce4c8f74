"""Where an API server is, and the official client's connections to it, directly or through a proxy."""

import socket
import ssl
from dataclasses import dataclass

import urllib3

from app.kube.call_timeouts import CALL_SECONDS
from app.kube.client_library import (
    Configuration,
    RESTClientObject,
    should_bypass_proxies,
    tcp_keepalive_socket_options,
)


@dataclass(frozen=True, slots=True)
class ApiServer:
    """How an API server is reached.

    Attributes:
        url: its URL; a path in it comes before the path of each call.
        verify: whether to verify its certificate.
        server_name: the name that its certificate must have; `None`: the host of the URL.
        proxy: the URL of the proxy; `None`: there is none.
    """

    url: str
    verify: bool = True
    server_name: str | None = None
    proxy: str | None = None


def environment_proxy(url: str) -> str | None:
    """Return the proxy that the environment names for a URL (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`), if any."""
    configuration = Configuration(host=url)
    bypassed = should_bypass_proxies(url, configuration.no_proxy or "")
    return None if bypassed else configuration.proxy


def make_pools(server: ApiServer, *, connections: int, context: ssl.SSLContext | None) -> urllib3.PoolManager:
    """Make the client's pool manager for an API server, without retries: only the caller knows what may be repeated.

    Args:
        server: the API server.
        connections: how many connections are kept open at most.
        context: the TLS context of the connections; `None`: they have no TLS.
    """
    configuration = Configuration(host=server.url, no_proxy="")
    configuration.proxy = server.proxy  # `None` to the constructor means that of the environment
    configuration.proxy_ssl_context = context
    configuration.verify_ssl = server.verify
    configuration.tls_server_name = server.server_name
    configuration.retries = False
    configuration.connection_pool_maxsize = connections
    configuration.socket_options = tcp_keepalive_socket_options()
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        # The kernel stops resending a request after the time that its caller waits.
        configuration.socket_options.append((socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(CALL_SECONDS * 1000)))
    pools = RESTClientObject(configuration).pool_manager
    if context is not None:
        pools.connection_pool_kw["ssl_context"] = context
    return pools
