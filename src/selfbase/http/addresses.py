"""IP addresses inside IP addresses, for guards of outgoing requests.  Pure.

Teredo (RFC 4380) is left as it is: it is no global address, and so refused.
Sources: RFC 4291 section 2.5.5 (mapped), RFC 3056 (6to4), RFC 6052 (NAT64).
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

_NAT64 = ip_network("64:ff9b::/96")


def parse_reached(text: str) -> IPv4Address | IPv6Address:
    """The address that a packet to `text` ends at: the IPv4 one inside it, where there is one.
    Raises ValueError for what is no address."""
    parsed = ip_address(text.partition("%")[0])
    if isinstance(parsed, IPv4Address):
        return parsed
    if parsed in _NAT64:
        return IPv4Address(int(parsed) & 0xFFFFFFFF)
    return parsed.ipv4_mapped or parsed.sixtofour or parsed
