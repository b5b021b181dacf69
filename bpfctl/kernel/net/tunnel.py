"""Tunnel metadata of a packet: struct bpf_tunnel_key and back (net/core/filter.c)."""

from __future__ import annotations

from struct import pack, unpack
from typing import Any

from bpfctl.errors import E

KEY_SIZE = 44
COMPAT_SIZES = (28, 24, 22, 8)
"""Sizes of the struct in older headers; what is missing reads as zero."""

TUNINFO_IPV6 = 1
ZERO_CSUM_TX, DONT_FRAGMENT, SEQ_NUMBER, NO_TUNNEL_KEY = 2, 4, 8, 16
TUNINFO_FLAGS = 16
FLOWLABEL_MASK = 0x000FFFFF
TUNNEL_CSUM, TUNNEL_KEY, TUNNEL_SEQ, TUNNEL_DONT_FRAGMENT = 0x01, 0x04, 0x08, 0x0100
TUNNEL_OPTIONS_PRESENT, TUNNEL_NOCACHE = 0x7800, 0x2000
OPTIONS_MAX = 255
_LAYOUT = "<I16sBBHI16s"


def set_key(key: bytes, flags: int, known: int) -> dict[str, Any] | int:
    """Return the metadata that ``key`` describes, or -EINVAL. ``known``: flags of this release."""
    if flags & ~known:
        return -E.INVAL
    if len(key) != KEY_SIZE:
        if len(key) not in COMPAT_SIZES:
            return -E.INVAL
        key = key.ljust(KEY_SIZE, b"\0")
    ident, remote, tos, ttl, ext, label, local = unpack(_LAYOUT, key)
    if (label and not flags & TUNINFO_IPV6) or ext:
        return -E.INVAL
    tun_flags = TUNNEL_KEY | TUNNEL_CSUM | TUNNEL_NOCACHE
    if flags & DONT_FRAGMENT:
        tun_flags |= TUNNEL_DONT_FRAGMENT
    if flags & ZERO_CSUM_TX:
        tun_flags &= ~TUNNEL_CSUM
    if flags & SEQ_NUMBER:
        tun_flags |= TUNNEL_SEQ
    if flags & NO_TUNNEL_KEY:
        tun_flags &= ~TUNNEL_KEY
    return {
        "ipv6": bool(flags & TUNINFO_IPV6),
        "id": ident,
        "tos": tos,
        "ttl": ttl,
        "flags": tun_flags,
        # What is remote to the sender is where the packet goes.
        "dst": remote,
        "src": local,
        "label": label & FLOWLABEL_MASK,
        "options": b"",
    }


def get_key(info: dict[str, Any] | None, size: int, flags: int, known: int) -> bytes | int:
    """Return ``size`` bytes of struct bpf_tunnel_key, or a negative errno."""
    if info is None or flags & ~known:
        return -E.INVAL
    if info["ipv6"] != bool(flags & TUNINFO_IPV6):
        return -E.PROTO
    if size != KEY_SIZE and (size not in COMPAT_SIZES or (size == 8 and info["ipv6"])):
        return -E.INVAL
    remote, local = info["src"], info["dst"]
    if not info["ipv6"]:
        remote, local = (addr[:4].ljust(16, b"\0") for addr in (remote, local))
    ext = info["flags"] if flags & TUNINFO_FLAGS else 0
    label = info["label"] if info["ipv6"] else 0
    key = pack(_LAYOUT, info["id"], remote, info["tos"], info["ttl"], ext, label, local)
    return key[:size]
