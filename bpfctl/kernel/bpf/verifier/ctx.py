"""Accesses to the context and to sockets (check_ctx_access, check_sock_access)."""

from __future__ import annotations

from bpfctl.errors import E
from bpfctl.kernel.bpf.progtypes import decl
from bpfctl.kernel.bpf.progtypes.cgroup import SOCK_FIELDS
from bpfctl.kernel.bpf.progtypes.release import prog_rules
from bpfctl.kernel.bpf.verifier import regtype as rt
from bpfctl.kernel.bpf.verifier.env import WRITE, Env
from bpfctl.kernel.bpf.verifier.state import UNKNOWN_SCALAR, BtfRef, Reg, pointer

_BECOMES = {
    decl.PACKET: rt.PTR_TO_PACKET,
    decl.PACKET_END: rt.PTR_TO_PACKET_END,
    decl.PACKET_META: rt.PTR_TO_PACKET_META,
    decl.SOCKET: rt.PTR_TO_SOCKET,
    decl.SOCKET_OR_NULL: rt.PTR_TO_SOCKET | rt.PTR_MAYBE_NULL,
    decl.SOCK_COMMON_OR_NULL: rt.PTR_TO_SOCK_COMMON | rt.PTR_MAYBE_NULL,
    decl.FLOW_KEYS: rt.PTR_TO_FLOW_KEYS,
    decl.TP_BUFFER: rt.PTR_TO_TP_BUFFER,
}

_PACKETS = (decl.PACKET, decl.PACKET_END, decl.PACKET_META)
MAX_ARGS = 12
MEMSX = 0x80
SOCK_LAYOUT = decl.CtxLayout("bpf_sock", 80, SOCK_FIELDS)
_HIDDEN_IN_COMMON = (8, 24)
"""bpf_sock_common has no type, protocol, mark and priority."""


def _words(*names: str) -> tuple[decl.Field, ...]:
    return tuple(decl.Field(name, 4 * index) for index, name in enumerate(names))


TCP_SOCK_LAYOUT = decl.CtxLayout(
    "bpf_tcp_sock",
    112,
    (
        *_words(
            "snd_cwnd", "srtt_us", "rtt_min", "snd_ssthresh", "rcv_nxt", "snd_nxt", "snd_una",
            "mss_cache", "ecn_flags", "rate_delivered", "rate_interval_us", "packets_out",
            "retrans_out", "total_retrans", "segs_in", "data_segs_in", "segs_out",
            "data_segs_out", "lost_out", "sacked_out",
        ),
        decl.Field("bytes_received", 80, 8),
        decl.Field("bytes_acked", 88, 8),
        decl.Field("dsack_dups", 96),
        decl.Field("delivered", 100),
        decl.Field("delivered_ce", 104),
        decl.Field("icsk_retransmits", 108),
    ),
)  # fmt: skip
XDP_SOCK_LAYOUT = decl.CtxLayout("bpf_xdp_sock", 4, (decl.Field("queue_id", 0),))

SOCK_LAYOUTS = {
    rt.PTR_TO_SOCKET: SOCK_LAYOUT,
    rt.PTR_TO_SOCK_COMMON: SOCK_LAYOUT,
    rt.PTR_TO_TCP_SOCK: TCP_SOCK_LAYOUT,
    rt.PTR_TO_XDP_SOCK: XDP_SOCK_LAYOUT,
}


def sock_access(reg_type: int, off: int, size: int) -> decl.Access | None:
    """Return what a load through a socket pointer gives, None where it is refused."""
    base = reg_type & rt.BASE
    low, high = _HIDDEN_IN_COMMON
    if base == rt.PTR_TO_SOCK_COMMON and low <= off < high:
        return None
    return SOCK_LAYOUTS[base].access(off, size, False)


def sock_readable(env: Env, reg_type: int, off: int, size: int) -> bool:
    """Tell whether ``size`` bytes at ``off`` may be loaded through a socket pointer."""
    return sock_access(reg_type, off, size) is not None


def check_ctx_access(env: Env, insn_idx: int, off: int, size: int, access: int) -> Reg:
    """Check an access to the context and return what a load gives.

    :raises Refused: EACCES (``invalid bpf_context access``).
    """
    layout = env.type.ctx
    if layout is None:
        return _check_btf_ctx(env, off, size, access)
    found = layout.access(
        off,
        size,
        access == WRITE,
        env.attach_type,
        env.bpf_capable,
        prog_rules(env.kernel.profile.name).traits,
    )
    if found is not None and found.becomes in _PACKETS and _extends(env, insn_idx):
        found = None
    if found is None:
        env.fail(E.ACCES, f"invalid bpf_context access off={off} size={size}")
    if found.becomes == decl.UNCONVERTIBLE:
        # The conversion behind the walk fails on it.
        env.extra["unconvertible"] = True
    return _loaded(env, found)


def _extends(env: Env, insn_idx: int) -> bool:
    """Whether a load extends the sign, which no pointer survives."""
    return env.insns[insn_idx].code & 0xE0 == MEMSX


def _check_btf_ctx(env: Env, off: int, size: int, access: int) -> Reg:
    """A context typed by BTF is an array of 8-byte arguments (btf_ctx_access).

    Only numbers are known: the simulator has no BTF of the kernel's functions.
    """
    if off % 8 or size != 8 or access == WRITE or off // 8 >= MAX_ARGS:
        env.fail(E.ACCES, f"invalid bpf_context access off={off} size={size}")
    return UNKNOWN_SCALAR


def _loaded(env: Env, found: decl.Access) -> Reg:
    if found.becomes in (decl.SCALAR, decl.UNCONVERTIBLE):
        return UNKNOWN_SCALAR
    if found.becomes.startswith("btf:"):
        name = found.becomes.removeprefix("btf:")
        return pointer(rt.PTR_TO_BTF_ID | rt.PTR_TRUSTED, 0, BtfRef(None, 0, name))
    reg = pointer(_BECOMES[found.becomes])
    if rt.is_pkt(reg.type):
        reg.aux = 0
    if reg.type & rt.PTR_MAYBE_NULL:
        reg.id = env.new_id()
    return reg
