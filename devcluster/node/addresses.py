"""Pod addresses: one per pod, from 127.64.0.0/10.

Containers share the host's network, so no address really belongs to a pod. A loopback address never collides with that
of another host. On Linux a process can bind to it, so a connection made on behalf of a pod can come from the pod's
address, as in a real cluster.
"""

import ipaddress
import itertools

_NETWORK = ipaddress.ip_network("127.64.0.0/10")


class Addresses:
    """Allocates addresses; a released one is reused only after all others."""

    def __init__(self) -> None:
        self._numbers = itertools.cycle(range(1, _NETWORK.num_addresses - 1))
        self._used: set[str] = set()

    def allocate(self) -> str:
        """Return an address that no other pod has."""
        for number in self._numbers:
            address = str(_NETWORK[number])
            if address not in self._used:
                self._used.add(address)
                return address
        raise AssertionError("unreachable: the cycle is endless")

    def release(self, address: str) -> None:
        """Release an address, so that another pod may get it."""
        self._used.discard(address)
