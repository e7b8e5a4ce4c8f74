"""Who is trusted to use a private definition.

Trusted is who connects from one of the trusted networks, directly. An address that somebody else reports is believed
from nobody: a request that carries a forwarding header comes from outside, whoever sent it.
"""

from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address

from app.settings import Network
from schemas.definition import Definition

FORWARDING_HEADERS = ("X-Forwarded-For", "Forwarded", "X-Real-IP")


class NotTrustedError(Exception):
    """A private definition was asked for by a caller that isn't trusted."""


class Callers:
    """Decides who may call.

    Args:
        trusted_networks: whose addresses are trusted.
    """

    def __init__(self, trusted_networks: Iterable[Network]) -> None:
        self._trusted_networks = tuple(trusted_networks)

    def check(self, definition: Definition, address: str | None, *, forwarded: bool) -> None:
        """Let a caller pass, or not.

        Args:
            definition: what is asked for.
            address: of the connection's other end; `None` or no address: not known, so not trusted.
            forwarded: whether the request carries any of `FORWARDING_HEADERS`.

        Raises:
            NotTrustedError: the definition is private and the caller isn't trusted.
        """
        if definition.visibility != "Public" and (forwarded or not self._is_trusted(address)):
            raise NotTrustedError(definition.name)

    def _is_trusted(self, address: str | None) -> bool:
        try:
            caller = ip_address(address or "")
        except ValueError:
            return False
        if isinstance(caller, IPv6Address) and caller.ipv4_mapped is not None:
            caller = caller.ipv4_mapped
        return any(caller in network for network in self._trusted_networks)
