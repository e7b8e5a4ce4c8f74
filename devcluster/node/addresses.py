"""The pods' addresses: one each from 127.64.0.0/10.

Containers share the host's network, so no address is really a pod's own. One on the loopback network never clashes
with a real host's; on Linux a process can bind to it, so that a connection made on a pod's behalf can come from the
pod's address, as it would in a real cluster.
"""

import ipaddress
import itertools

_NETWORK = ipaddress.ip_network("127.64.0.0/10")


class Addresses:
    """Hands out addresses; those given back are used again only after all others."""

    def __init__(self) -> None:
        self._numbers = itertools.cycle(range(1, _NETWORK.num_addresses - 1))
        self._used: set[str] = set()

    def take(self) -> str:
        """Return an address that no other pod has."""
        for number in self._numbers:
            address = str(_NETWORK[number])
            if address not in self._used:
                self._used.add(address)
                return address
        raise AssertionError("an endless cycle doesn't end")

    def give_back(self, address: str) -> None:
        """Another pod may have the address now."""
        self._used.discard(address)
