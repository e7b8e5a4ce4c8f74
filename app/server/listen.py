"""The addresses that a server listens on."""

import socket


def every_address(port: int) -> list[str]:
    """Return the addresses to bind, as gunicorn writes them, so that IPv4 and IPv6 clients reach a port.

    One socket serves both where the kernel has IPv6 and shares its sockets, as Linux does by default. A kernel whose
    `net.ipv6.bindv6only` is set needs two. Without IPv6 there is the IPv4 socket alone.
    """
    ipv4, ipv6 = f"0.0.0.0:{port}", f"[::]:{port}"
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            needs_two = bool(probe.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))
            probe.bind(("::", 0))
    except OSError:
        return [ipv4]
    return [ipv4, ipv6] if needs_two else [ipv6]


def listen(port: int) -> socket.socket:
    """Return a socket that listens on a port for IPv4 clients, and for IPv6 ones where the kernel has that.

    Args:
        port: 0: any free one.

    Raises:
        OSError: the port cannot be bound.
    """
    dual_stack = socket.has_dualstack_ipv6() and every_address(port) != [f"0.0.0.0:{port}"]
    if not dual_stack:
        return socket.create_server(("0.0.0.0", port))  # noqa: S104 - the kubelet and Prometheus are elsewhere
    return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)


def plain_address(address: tuple[str, ...] | str) -> tuple[str, ...] | str:
    """Return the address of a connection; an IPv4 client of an IPv6 socket gets its IPv4 address (RFC 4291, 2.5.5.2).

    Args:
        address: as `socket.accept` returns it; that of a Unix socket is a text.
    """
    if isinstance(address, tuple) and address[0].lower().startswith("::ffff:") and "." in address[0]:
        return (address[0][len("::ffff:") :], *address[1:2])
    return address
