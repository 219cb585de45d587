"""Which hosts are on the public internet, and which IP addresses they have."""

from __future__ import annotations

import ipaddress
import socket

NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""IPv6 addresses whose last 32 bits are an IPv4 address (RFC 6052)."""


class PrivateAddress(OSError):
    """A host that is not on the public internet."""


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet: not private, loopback, link-local, multicast or reserved."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        ip = inner or ip
    return ip.is_global and not ip.is_multicast


def resolve(host: str, port: int, *, private: bool) -> list[str]:
    """The IP addresses of a host, of which the caller opens one: a second look-up could give others.

    Raises:
        PrivateAddress: if the host has no public address, unless `private` allows others.
        OSError: if the host has no address.
    """
    found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    usable = [address for address in found if private or is_public(address)]
    if not usable:
        raise PrivateAddress(f"{host} has a private address ({found[0]}), and only public ones are allowed")
    return usable
