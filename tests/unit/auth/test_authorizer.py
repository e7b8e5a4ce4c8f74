"""Decisions that tests/http/test_access_matrix.py does not cover."""

from ipaddress import ip_address, ip_network

import pytest

from app.auth.addresses import Address, can_be_pod_address, read_address
from app.auth.authorizer import Authorizer, AuthReason, Caller, TrustRules
from app.auth.identities import PodIdentity
from app.auth.tokens import Account

PROXIES = (ip_network("10.9.0.0/24"),)
TOKEN, USER_TOKEN = "Bearer e30.e30.c2ln", "Bearer e30.e30.dXNlcg"


class TrustingIdentities:
    """Finds a trusted pod at every address, and the account shop:cart for every token but one."""

    def find_pod(self, address: Address) -> PodIdentity:
        """Return a trusted pod."""
        return PodIdentity("web", trusted=True)

    def find_account(self, token: str) -> Account | None:
        """Return shop:cart, or `None` for the token of a user."""
        return None if token == USER_TOKEN.removeprefix("Bearer ") else Account("shop", "cart")


def reason(caller: Caller, *accounts: Account, networks: str = "192.0.2.0/24") -> AuthReason:
    rules = TrustRules(networks=(ip_network(networks),), proxies=PROXIES, accounts=accounts)
    return Authorizer(rules, TrustingIdentities(), wall_clock=lambda: 0.0).authorize(caller).reason


@pytest.mark.parametrize("networks", ["192.0.2.0/24", "10.9.0.0/16"])
@pytest.mark.parametrize("forwarding", [{}, {"X-Real-IP": "rubbish"}, {"X-Forwarded-For": "10.9.0.2"}])
def test_authorize__never_trusts_a_proxy_itself(forwarding: dict[str, str], networks: str) -> None:
    """Not even one that is a trusted pod or in a trusted network."""
    assert reason(Caller("10.9.0.1", forwarding), networks=networks) is AuthReason.UNCLEAR_CLIENT


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        (Account("shop", "cart"), AuthReason.TRUSTED_ACCOUNT),
        (Account("shop", "*"), AuthReason.TRUSTED_ACCOUNT),
        (Account("*", "cart"), AuthReason.TRUSTED_ACCOUNT),
        (Account("*", "*"), AuthReason.TRUSTED_ACCOUNT),
        (Account("shop", "till"), AuthReason.UNLISTED_ACCOUNT),
        (Account("*", "till"), AuthReason.UNLISTED_ACCOUNT),
        (Account("bank", "cart"), AuthReason.UNLISTED_ACCOUNT),
        (Account("bank", "*"), AuthReason.UNLISTED_ACCOUNT),
        (Account("sho", "*"), AuthReason.UNLISTED_ACCOUNT),
    ],
)
def test_authorize__compares_accounts_by_namespace_and_name(listed: Account, expected: AuthReason) -> None:
    """The address of an account that is not listed does not help it."""
    assert reason(Caller("192.0.2.7", {}, TOKEN), Account("other", "one"), listed) is expected


def test_authorize__refuses_a_token_that_is_not_a_service_accounts() -> None:
    """Stars match only ServiceAccounts."""
    assert reason(Caller("192.0.2.7", {}, USER_TOKEN), Account("*", "*")) is AuthReason.NO_ACCOUNT


def test_authorize__ignores_tokens_unless_accounts_are_listed() -> None:
    assert reason(Caller("192.0.2.7", {}, TOKEN)) is AuthReason.TRUSTED_NETWORK
    assert reason(Caller("192.0.2.7", {}, "Bearer rubbish")) is AuthReason.TRUSTED_NETWORK


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "::1", "0.0.0.0", "::", "169.254.1.1", "fe80::1", "224.0.0.1", "ff02::1", "fd77::1%eth0",
     "::ffff:127.0.0.1", "::ffff:10.1.1.1%eth0"],
)  # fmt: skip
def test_authorize__looks_up_no_pod_for_local_and_scoped_addresses(address: str) -> None:
    """They mean another machine on each host or link."""
    assert reason(Caller(address)) is AuthReason.NO_POD


@pytest.mark.parametrize("address", ["10.1.1.1", "fd77::1", "127.64.0.1", "::ffff:10.1.1.1"])
def test_authorize__looks_up_a_pod_for_other_addresses(address: str) -> None:
    assert reason(Caller(address)) is AuthReason.TRUSTED_POD


def test_read_address__keeps_the_scope() -> None:
    """It means another machine on every link, even if it looks like an IPv4 address."""
    scoped = read_address("::ffff:10.1.1.1%eth0")
    assert scoped is not None
    assert scoped != ip_address("10.1.1.1")
    assert not can_be_pod_address(scoped)
