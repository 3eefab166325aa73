"""Which addresses webhooks may reach: public ones. A host is resolved once, and delivery connects to the checked address."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from services.triggers.settings import Network

_NAT64 = ip_network("64:ff9b::/96")
_ISATAP = (0x00005EFE, 0x02005EFE)  # the third quarter of an address that stands for the IPv4 one in its fourth
_NEVER = tuple(
    ip_network(network)
    for network in (
        "168.63.129.16/32",  # a cloud's own services, at an address that looks public
        "192.0.0.0/24",  # for protocols
        "192.88.99.0/24",  # relays of 6to4
        "3fff::/20",  # documentation
        "fec0::/10",  # once private
    )
)
"""Networks that some releases of `ipaddress` take for public."""
Address = IPv4Address | IPv6Address
Lookup = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host, for a port. Raises OSError when there are none."""


class Refused(Exception):
    """The host resolves to an address that webhooks may not reach. Trying again would not be safer."""


async def system(host: str, port: int) -> Sequence[str]:
    """Resolve by the operating system."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(each[4][0]) for each in found]


class Addresses:
    """Resolves hosts by `lookup`. Refuses addresses that are not public, except the networks in `also` (development, private
    networks)."""

    def __init__(self, also: Sequence[Network], lookup: Lookup = system) -> None:
        self._also = also
        self._lookup = lookup

    def allowed(self, address: Address) -> bool:
        """Whether webhooks may reach an address, however it is written. An IPv4 address inside an IPv6 one counts as itself."""
        inner = embedded(address)
        if any(inner.version == network.version and inner in network for network in self._also):
            return True
        if any(inner.version == network.version and inner in network for network in _NEVER):
            return False
        return inner.is_global and not inner.is_multicast and not inner.is_reserved

    async def resolve(self, host: str, port: int) -> list[str]:
        """The addresses of a host, IPv4 first. Raises Refused when one of them is not allowed, OSError for no host."""
        found = await self._lookup(host, port)
        addresses = list(dict.fromkeys(ip_address(each.partition("%")[0]) for each in found))
        for address in addresses:
            if not self.allowed(address):
                raise Refused(f"{host} resolves to {address}, which is not a public address")
        return [str(address) for address in sorted(addresses, key=lambda address: address.version)]


def embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for (mapped, compatible, 6to4, Teredo, NAT64, ISATAP), else the address."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if (
        int(address) >> 32 & 0xFFFFFFFF in _ISATAP
        or address in _NAT64
        or (int(address) >> 32 == 0 and int(address) > 1)
    ):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address
