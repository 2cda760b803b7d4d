"""Which hosts may be reached: none of this machine or of its own network, unless allowed by name.

What a study, a manifest or a service names as an address is somebody else's word. A name is
resolved once, all its addresses are checked, and a connection is made to one of these and no other:
what the name means a moment later makes no difference. A proxy resolves names itself and is exempt.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable

from streetgauge.errors import InputError

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_COMPATIBLE = ipaddress.IPv6Network("::/96")  # IPv4 within IPv6, as once was written

# Hosts by name, of all studies that this process has opened.
_allowed: set[str] = set()


class AddressError(InputError):
    """A host that may not be reached."""


def plain_host(host: str) -> str:
    """Give the one spelling of a host: lower case, no brackets, no full stop at the end.

    Examples
    --------
    >>> plain_host("[::1]"), plain_host("LocalHost.")
    ('::1', 'localhost')
    """
    host = host.strip("[]").rstrip(".").lower()
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host


def allow_hosts(hosts: Iterable[str]) -> None:
    """Let hosts be reached by this process, whatever their addresses."""
    _allowed.update(map(plain_host, hosts))


def allowed_hosts() -> tuple[str, ...]:
    """Give the hosts that were allowed, for a worker in another process."""
    return tuple(sorted(_allowed))


def is_public(text: str) -> bool:
    """Whether an address is one of the internet, also that which lies within another.

    Examples
    --------
    >>> [is_public(each) for each in ("1.1.1.1", "10.0.0.1", "::ffff:127.0.0.1", "224.0.0.1")]
    [True, False, False, False]
    """
    address = ipaddress.ip_address(text)
    inner: list[ipaddress.IPv4Address | None] = []
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
            return is_public(str(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)))
        if address.ipv4_mapped is not None:
            return is_public(str(address.ipv4_mapped))
        if address.is_site_local:
            return False
        inner = [address.sixtofour, *(address.teredo or ())]
    special = address.is_multicast or address.is_reserved or address.is_unspecified
    special = special or address.is_link_local or address.is_loopback
    return address.is_global and not special and all(is_public(str(v4)) for v4 in inner if v4)


def require_public(host: str, addresses: Iterable[str]) -> None:
    """Refuse a host if one of its addresses is not public, and it is not allowed by name.

    Raises
    ------
    AddressError
        Naming the first such address.
    """
    name = plain_host(host)
    if name in _allowed:
        return
    for address in addresses:
        if not is_public(address):
            at = "it" if name == address else f"its address {address}"
            raise AddressError(
                f"host {host}",
                f"{at} is within this machine or its own network, which a study may not reach",
                f'if it is meant, write allow_hosts = ["{name}"] under [imagery]',
            )


def resolve(host: str, port: int) -> list[str]:
    """Give the addresses of a host, of which a connection takes one.

    Raises
    ------
    AddressError
        If it may not be reached.
    OSError
        If there is no such host.
    """
    found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
    require_public(host, addresses)
    return addresses
