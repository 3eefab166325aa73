"""Nothing is sent to addresses that are not public, however they are written."""

from ipaddress import ip_address, ip_network

import pytest

from services.triggers.delivery.addresses import Addresses, Refused

PUBLIC = Addresses(())


@pytest.mark.parametrize(
    "address",
    """0.0.0.0 10.1.2.3 100.64.0.1 127.0.0.1 127.255.0.1 169.254.169.254 172.16.0.1 192.168.1.1 192.0.2.1 198.18.0.1
    198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255
    :: ::1 fe80::1 fc00::1 fd12:3456::1 ff02::1 2001:db8::1 100::1
    ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::127.0.0.1 64:ff9b::a9fe:a9fe 2002:7f00:1::
    2002:a00:1::1 2001:0:53aa:64c:0:0:f5ff:fffe fec0::1 3fff::1 fd00:ec2::254 64:ff9b:1::a9fe:a9fe
    2606:4700::5efe:a9fe:a9fe 168.63.129.16 192.88.99.1 192.0.0.8""".split(),
)
def test_refused(address: str) -> None:
    assert not PUBLIC.allowed(ip_address(address))


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
)
def test_allowed(address: str) -> None:
    assert PUBLIC.allowed(ip_address(address))


def test_own_networks_may_be_allowed() -> None:
    own = Addresses((ip_network("10.1.0.0/16"), ip_network("::1/128")))
    assert own.allowed(ip_address("10.1.2.3"))
    assert own.allowed(ip_address("::ffff:10.1.2.3"))
    assert own.allowed(ip_address("::1"))
    assert not own.allowed(ip_address("10.2.0.1"))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1", "2130706433", "0x7f.1", "::1", "::ffff:127.0.0.1"])
async def test_hosts_are_refused_by_where_they_lead(host: str) -> None:
    with pytest.raises((Refused, OSError)):
        await PUBLIC.resolve(host, 80)
    with pytest.raises(Refused, match="which is not a public address"):
        await PUBLIC.resolve("localhost", 80)
