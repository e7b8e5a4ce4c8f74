"""Which addresses notifications may be sent to."""

from ipaddress import ip_address, ip_network

import pytest

from app.notifications.address_rules import find_refusal


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.255.254",
        "::1",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "2001:0:7f00:1::",
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "169.254.0.1",
        "fe80::1",
        "fe80::1%eth0",
        "2001:db8::1%eth0",
        "fd00:ec2::254",
        "fd20:ce::254",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "ff02::1",
        "10.96.0.1",
        "::ffff:10.96.0.1",
        "64:ff9b::a60:1",
        "fd12::1",
    ],
)
def test_find_refusal__of_an_address_that_is_not_a_receivers(address: str) -> None:
    api_server = [ip_address("10.96.0.1"), ip_address("fd12::1")]
    assert find_refusal(ip_address(address), (), api_server)


@pytest.mark.parametrize(
    "address", ["10.96.0.2", "192.168.1.7", "203.0.113.9", "2001:db8::7", "fd12::2", "64:ff9b::cb00:7109", "172.16.0.1"]
)
def test_find_refusal__permits_other_addresses_of_the_cluster_and_of_the_internet(address: str) -> None:
    assert find_refusal(ip_address(address), (), [ip_address("10.96.0.1")]) == ""


@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"])
def test_find_refusal__permits_what_the_settings_name(address: str) -> None:
    allowed = [ip_network("127.0.0.0/8")]
    assert find_refusal(ip_address(address), allowed, [ip_address("127.0.0.1")]) == ""
    assert find_refusal(ip_address("::1"), allowed, ())
