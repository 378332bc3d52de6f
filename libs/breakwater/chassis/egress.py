"""Which addresses this process may connect to outside of the platform (expectations.md, security 5).

The names are the allow-list: a client is made for one configured host and reaches no other. Here the *addresses* behind a
name are judged, each time and before the connection, so that a name that turns inward is refused as well.
"""

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from breakwater.chassis.errors import UnavailableError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NAT64 = ip_network("64:ff9b::/96")


class EgressRefusedError(UnavailableError):
    """A name leads to a private, local or metadata address that BREAKWATER_EGRESS_PRIVATE does not allow."""

    default_code = "egress_refused"


class Egress:
    """Resolves names to addresses that may be called. `private` are the networks of our own that may be called too."""

    def __init__(self, private: Sequence[Network] = ()) -> None:
        self._private = tuple(private)

    async def resolve(self, dependency: str, host: str, port: int) -> str:
        """The address to connect to. Raises `EgressRefusedError`, and `OSError` where the name is not known."""
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
        # All of them: which one is called would be chance.
        for address in addresses:
            if not self.allows(address):
                raise EgressRefusedError(f"{host} leads to an address that may not be called.", dependency=dependency)
        return str(addresses[0])

    def allows(self, address: Address) -> bool:
        """Whether this address may be called: a global one, or one of a network that is allowed by name."""
        inner = _embedded(address)
        if any(inner in network for network in self._private if network.version == inner.version):
            return True
        return inner.is_global and not inner.is_multicast


def _embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for: a mapped loopback is a loopback."""
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address
