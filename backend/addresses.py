"""Which addresses are on the public internet: of what the server may fetch from, everything else is somebody's inside.

Python's `is_global` is most of it. It takes multicast for global, and what is an IPv4 address within an IPv6 one.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address

__all__ = ["is_public"]

_UNICAST = IPv6Network("2000::/3")
"""All that is given out of IPv6. Outside of it are IPv4-mapped, IPv4-compatible and NAT64 addresses, local ones, …"""

_NEVER_4 = tuple(
    IPv4Network(block)
    for block in (
        "0.0.0.0/8", "100.64.0.0/10",
        "168.63.129.16/32",  # the host's own services, on Azure; those of other clouds are link-local or shared
        "192.0.0.0/24", "192.88.99.0/24",  # protocols' own, and 6to4's relays
        "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4",
    )
)  # fmt: skip
_NEVER_6 = tuple(
    IPv6Network(block)
    for block in (
        "2001::/23",  # protocols' own; Teredo's wrap an IPv4 address
        "2001:db8::/32", "3fff::/20",  # examples
        "2002::/16",  # 6to4, which wraps an IPv4 address
    )
)  # fmt: skip


def is_public(text: str) -> bool:
    """Whether this is the address of a machine on the public internet, and no other address in disguise."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if not address.is_global:
        return False
    if isinstance(address, IPv4Address):
        return not any(address in block for block in _NEVER_4)
    return address in _UNICAST and not any(address in block for block in _NEVER_6)
