"""Which addresses notifications may be sent to. Pure.

The URL is written by the platform team, but what its name resolves to is decided by whoever runs that name. So the
address is checked, and the connection goes to exactly the address that was checked.
"""

from collections.abc import Collection, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_REFUSED: dict[str, tuple[Network, ...]] = {
    "a loopback address": (ip_network("127.0.0.0/8"), ip_network("::1/128")),
    "a link-local address": (ip_network("169.254.0.0/16"), ip_network("fe80::/10")),
    "an address of a cloud's metadata": (
        ip_network("100.100.100.200/32"),  # Alibaba Cloud
        ip_network("168.63.129.16/32"),  # Azure
        ip_network("192.0.0.192/32"),  # Oracle Cloud
        ip_network("fd00:ec2::/32"),  # AWS
        ip_network("fd20:ce::254/128"),  # Google Cloud
    ),
    "no address of one host": (
        ip_network("0.0.0.0/8"),
        ip_network("224.0.0.0/3"),  # multicast, reserved, broadcast
        ip_network("::/128"),
        ip_network("ff00::/8"),
    ),
    "an address with another one in it": (
        ip_network("::/96"),  # IPv4-compatible, deprecated
        ip_network("64:ff9b:1::/48"),  # NAT64 with a prefix that only the network knows how to read
        ip_network("2001::/32"),  # Teredo
        ip_network("2002::/16"),  # 6to4
    ),
}

_NAT64 = ip_network("64:ff9b::/96")
"""Stands for an IPv4 address: https://www.rfc-editor.org/rfc/rfc6052#section-2.1"""


def find_refusal(address: Address, allowed: Iterable[Network], api_server: Collection[Address]) -> str:
    """Return why nothing may be sent to an address; empty: it may.

    Args:
        address: of the receiver.
        allowed: the networks that the settings name; an address in them is never refused.
        api_server: the addresses of the API server.
    """
    address = _unwrap(address)
    if any(address in network for network in allowed):
        return ""
    if address in {_unwrap(one) for one in api_server}:
        return "the API server's address"
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        return "a link-local address"
    for what, networks in _REFUSED.items():
        if any(address in network for network in networks):
            return what
    return ""


def _unwrap(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address stands for, else the address itself."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return ip_address(int(address) & 0xFFFF_FFFF)
    return address
