"""Forwarding headers: which client address they give, and that a client cannot forge it."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.auth.addresses import Address
from app.auth.authorizer import Authorizer, AuthReason, Caller, TrustRules
from app.auth.identities import PodIdentity
from app.auth.proxy_headers import find_client_address
from app.auth.tokens import Account

PROXIES = (ip_network("10.9.0.0/24"), ip_network("fd09::/64"))
RULES = TrustRules(networks=(ip_network("192.0.2.0/24"),), proxies=PROXIES)
INSIDER, OUTSIDER, PROXY = "192.0.2.7", "203.0.113.7", "10.9.0.1"


class NoPods:
    """Finds no pod."""

    def find_pod(self, address: Address) -> PodIdentity:
        """Return no pod."""
        return PodIdentity()

    def find_account(self, token: str) -> Account | None:
        """Fail: tokens are disabled."""
        raise AssertionError(token)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"X-Forwarded-For": "192.0.2.7"}, "192.0.2.7"),
        ({"X-Forwarded-For": "192.0.2.7, 203.0.113.7,10.9.0.2"}, "203.0.113.7"),
        ({"X-Forwarded-For": "::ffff:192.0.2.7"}, "192.0.2.7"),
        ({"X-Forwarded-For": "[2001:DB8::1]:443"}, "2001:db8::1"),
        ({"X-Forwarded-For": "192.0.2.7:80"}, "192.0.2.7"),
        ({"Forwarded": 'proto=https;For="[2001:db8::1]:4711";by=10.9.0.1'}, "2001:db8::1"),
        ({"Forwarded": 'for=192.0.2.7, for="203.0.113.7"; proto="a,for=1.1.1.1"'}, "203.0.113.7"),
        ({"Forwarded": r'for="192.0.2\.7"'}, "192.0.2.7"),
        ({"X-Real-IP": "192.0.2.7", "X-Forwarded-For": "1.1.1.1, 192.0.2.7"}, "192.0.2.7"),
        ({"X-Real-IP": "192.0.2.7", "X-Forwarded-For": "203.0.113.7"}, None),
        ({"X-Forwarded-For": "203.0.113.7", "Forwarded": "for=192.0.2.7"}, None),
        ({"X-Forwarded-For": "192.0.2.7", "Forwarded": "for=unknown"}, None),
        ({"X-Forwarded-For": "192.0.2.7", "Forwarded": "for=_hidden"}, None),
        ({"X-Forwarded-For": "192.0.2.7", "Forwarded": "proto=https"}, None),
        ({"X-Forwarded-For": "192.0.2.7", "X-Real-IP": "10.9.0.2"}, None),
        ({"X-Forwarded-For": "192.0.2.7", "X-Real-IP": ""}, None),
        ({"X-Forwarded-For": "10.9.0.2, 10.9.0.3"}, None),
        ({"X-Forwarded-For": "192.0.2.7,"}, None),
        ({"X-Forwarded-For": "192.0.2.7, unknown"}, None),
        ({"X-Forwarded-For": "192.0.2.7, unknown, 10.9.0.2"}, None),
        ({"X-Forwarded-For": "rubbish, 192.0.2.7"}, None),
        ({"Forwarded": "for=192.0.2.7 rubbish"}, None),
        ({"Forwarded": "for=192.0.2.7, for=_hidden"}, None),
        ({"Forwarded": "by=192.0.2.7"}, None),
        ({"Forwarded": "for=192.0.2.7;FOR=192.0.2.7"}, None),
        ({"X-Forwarded-For": "192.0.2.07"}, None),
        ({"X-Forwarded-For": "192.0.2.7%eth0"}, None),
        ({"Forwarded": 'for="192.0.2.7, for=203.0.113.7'}, None),
        ({"Forwarded": "for=192.0.2.7;for=203.0.113.7"}, None),
        ({"Forwarded": "for=2001:db8::1"}, None),
        ({"Forwarded": ""}, None),
        ({}, None),
    ],
)
def test_find_client_address__returns_the_right_most_non_proxy_if_all_headers_agree(
    headers: dict[str, str], expected: str | None
) -> None:
    assert find_client_address(headers, PROXIES) == (ip_address(expected) if expected else None)


chains = st.lists(st.sampled_from([INSIDER, OUTSIDER, "10.9.0.2", "unknown", "rubbish", "", "fd09::1"]), max_size=4)


@given(
    connection=st.sampled_from([INSIDER, OUTSIDER, PROXY, "fd09::5", "::ffff:10.9.0.1", "", "x"]),
    headers=st.dictionaries(st.sampled_from(["X-Forwarded-For", "Forwarded", "X-Real-IP"]), chains, max_size=3),
    written=st.sampled_from(["X-Forwarded-For", "Forwarded", "X-Real-IP"]),
    client=st.sampled_from([INSIDER, OUTSIDER]),
)
def test_authorize__trusts_a_forwarded_request_only_for_its_clients_address(
    connection: str, headers: dict[str, list[str]], written: str, client: str
) -> None:
    """A proxy appends its client to one header; nothing that the client put into any header counts."""
    by_proxy = connection in (PROXY, "fd09::5", "::ffff:10.9.0.1")
    sent = {name: list(chain) for name, chain in headers.items()}
    if by_proxy:
        sent[written] = [*sent.get(written, []), client]
    texts = {
        name: ", ".join(f'for="[{one}]"' if ":" in one else f"for={one}" for one in chain)
        if name == "Forwarded"
        else ", ".join(chain)
        for name, chain in sent.items()
    }
    decision = Authorizer(RULES, NoPods()).authorize(Caller(connection, texts))
    if by_proxy:
        assert not decision.trusted or client == INSIDER
        if sent == {written: [client]}:
            assert decision.trusted == (client == INSIDER)
    else:
        assert decision.trusted == (connection == INSIDER and not texts)
        if texts and connection in (INSIDER, OUTSIDER):
            assert decision.reason is AuthReason.UNTRUSTED_PROXY


@given(
    st.dictionaries(st.sampled_from(["X-Forwarded-For", "Forwarded", "X-Real-IP"]), st.text(max_size=30), max_size=3)
)
def test_find_client_address__accepts_any_text(headers: dict[str, str]) -> None:
    find_client_address(headers, PROXIES)
