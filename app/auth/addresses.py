"""Parse IP addresses and compare them as addresses, never as text."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def read_address(text: str | None) -> Address | None:
    """Parse an IP address; return `None` if the text is not one.

    An IPv4-mapped IPv6 address (`::ffff:10.0.0.1`, RFC 4291, section 2.5.5.2), as dual-stack sockets write IPv4 peers,
    becomes the IPv4 address.
    """
    return _parse(text or "")


@lru_cache(maxsize=64)  # a request's own address is parsed several times; others' may be 8 KiB of text
def _parse(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.scope_id is None and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def is_in(address: Address, networks: Iterable[Network]) -> bool:
    """Return whether any of the networks contains the address."""
    return any(address in network for network in networks)


def can_be_pod_address(address: Address) -> bool:
    """Return whether an address can identify a pod. Such an address means the same machine everywhere.

    A link-local address with a scope (`fe80::1%eth0`, RFC 4007) means another machine on each link. Of the loopback
    addresses, only `127.0.0.1` and `::1` are refused: the pods of the embedded cluster have others.
    """
    scoped = isinstance(address, IPv6Address) and address.scope_id is not None
    localhost = address in (IPv4Address("127.0.0.1"), IPv6Address("::1"))
    return not (scoped or localhost or address.is_unspecified or address.is_link_local or address.is_multicast)
