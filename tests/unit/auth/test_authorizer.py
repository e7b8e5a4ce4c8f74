"""The decision about callers, where the table of callers (tests/http/test_callers_table.py) can't reach."""

from ipaddress import ip_address, ip_network

import pytest

from app.auth.addresses import Address, can_be_a_pods, read_address
from app.auth.authorizer import AuthReason, Caller, TrustRules, authorize
from app.auth.identities import PodFound
from app.auth.tokens import Account

PROXIES = (ip_network("10.9.0.0/24"),)
TOKEN, USERS = "Bearer e30.e30.c2ln", "Bearer e30.e30.dXNlcg"


class EveryAddressAPod:
    """A cluster in which every address is a trusted pod's, and every token but one is an account's."""

    def pod_at(self, address: Address) -> PodFound:
        """A pod."""
        return PodFound("web", trusted=True)

    def account_of(self, token: str) -> Account | None:
        """One of shop's; a user's is no account's."""
        return None if token == USERS.removeprefix("Bearer ") else Account("shop", "cart")


def reason(caller: Caller, *accounts: Account, networks: str = "192.0.2.0/24") -> AuthReason:
    rules = TrustRules(networks=(ip_network(networks),), proxies=PROXIES, accounts=accounts)
    return authorize(caller, rules, EveryAddressAPod(), now=0.0).reason


@pytest.mark.parametrize("networks", ["192.0.2.0/24", "10.9.0.0/16"])
@pytest.mark.parametrize("forwarding", [{}, {"X-Real-IP": "rubbish"}, {"X-Forwarded-For": "10.9.0.2"}])
def test_a_proxy_is_never_a_caller(forwarding: dict[str, str], networks: str) -> None:
    """Not even one that is a trusted pod, or in a trusted network: its calls are its clients'."""
    assert reason(Caller("10.9.0.1", forwarding), networks=networks) is AuthReason.FORWARDED_FOR_NOBODY


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
def test_an_account_is_listed_by_its_namespace_and_its_name(listed: Account, expected: AuthReason) -> None:
    """A star stands for any, and nothing else does; the address of an unlisted one doesn't help it."""
    assert reason(Caller("192.0.2.7", {}, TOKEN), Account("other", "one"), listed) is expected


def test_a_token_of_somebody_who_is_no_account_is_trusted_by_no_list() -> None:
    """Stars stand for ServiceAccounts; users, and the anonymous one, are none."""
    assert reason(Caller("192.0.2.7", {}, USERS), Account("*", "*")) is AuthReason.NO_ACCOUNT


def test_without_accounts_a_token_is_nothing() -> None:
    """The address decides."""
    assert reason(Caller("192.0.2.7", {}, TOKEN)) is AuthReason.TRUSTED_NETWORK
    assert reason(Caller("192.0.2.7", {}, "Bearer rubbish")) is AuthReason.TRUSTED_NETWORK


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "::1", "0.0.0.0", "::", "169.254.1.1", "fe80::1", "224.0.0.1", "ff02::1", "fd77::1%eth0",
     "::ffff:127.0.0.1", "::ffff:10.1.1.1%eth0"],
)  # fmt: skip
def test_an_address_that_is_not_one_machines_everywhere_is_no_pods(address: str) -> None:
    """Nobody is asked about it: each machine, or each link, has its own."""
    assert reason(Caller(address)) is AuthReason.NO_POD


@pytest.mark.parametrize("address", ["10.1.1.1", "fd77::1", "127.64.0.1", "::ffff:10.1.1.1"])
def test_any_other_address_may_be_a_pods(address: str) -> None:
    """Whose, is for the API server to say."""
    assert reason(Caller(address)) is AuthReason.TRUSTED_POD


def test_an_address_with_a_scope_is_no_other_address() -> None:
    """It means another machine on every link, also where it looks like an IPv4 address."""
    scoped = read_address("::ffff:10.1.1.1%eth0")
    assert scoped is not None
    assert scoped != ip_address("10.1.1.1")
    assert not can_be_a_pods(scoped)
