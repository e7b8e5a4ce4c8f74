"""Internet addresses, compared as addresses and never as text."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def read_address(text: str | None) -> Address | None:
    """Read an address; `None` for anything else.

    An IPv4 address that a dual-stack socket writes as IPv6 (`::ffff:10.0.0.1`, RFC 4291, section 2.5.5.2) is the IPv4
    address.
    """
    try:
        address = ip_address(text or "")
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.scope_id is None and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def is_in(address: Address, networks: Iterable[Network]) -> bool:
    """Whether an address lies in any of the networks."""
    return any(address in network for network in networks)


def can_be_a_pods(address: Address) -> bool:
    """Whether a pod could be told by this address: one that means the same machine wherever it is seen.

    A link-local address with its scope (`fe80::1%eth0`, RFC 4007) means another machine on every link. The embedded
    cluster's pods have addresses of the loopback network; what is in no pod's status is told apart by the look-up.
    """
    scoped = isinstance(address, IPv6Address) and address.scope_id is not None
    home = address in (IPv4Address("127.0.0.1"), IPv6Address("::1"))
    return not (scoped or home or address.is_unspecified or address.is_link_local or address.is_multicast)
