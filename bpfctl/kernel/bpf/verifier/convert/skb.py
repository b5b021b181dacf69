"""struct __sk_buff (bpf_convert_ctx_access and its cousins in net/core/filter.c)."""

from __future__ import annotations

from collections.abc import Callable

from bpfctl.kernel.bpf.verifier.convert.access import (
    ADD,
    AND,
    JEQ,
    JGE,
    JNE,
    JSET,
    MOV,
    SUB,
    Access,
)

NO_QUEUE_MAPPING = 0xFFFF
PKT_TYPE_MAX = 7
_WORDS = {
    # offset: (member, size), loads and stores of it are plain.
    0: ("sk_buff.len", 4),
    8: ("sk_buff.mark", 4),
    16: ("sk_buff.protocol", 2),
    24: ("sk_buff.vlan_tci", 2),
    28: ("sk_buff.vlan_proto", 2),
    32: ("sk_buff.priority", 4),
    36: ("sk_buff.skb_iif", 4),
    44: ("sk_buff.tc_index", 2),
    68: ("sk_buff.hash", 4),
    76: ("sk_buff.data", 8),
}


def convert(acc: Access) -> None:
    """Convert an access of programs that see a struct sk_buff."""
    off = acc.off
    if off in _WORDS:
        name, size = _WORDS[off]
        acc.rw(size, name)
    elif 48 <= off < 68:
        _cb(acc)
    elif 100 <= off < 132:
        _address6(acc)
    else:
        _SPECIAL[off](acc)


def _cb(acc: Access) -> None:
    off = acc.off - 48 + acc.at("sk_buff.cb") + acc.at("qdisc_skb_cb.data")
    if acc.write:
        acc.put(acc.size, acc.insn.dst, off)
    else:
        acc.ldx(acc.size, acc.dst, acc.src, off)


def _address6(acc: Access) -> None:
    remote = acc.off < 116
    name = "sock_common.skc_v6_daddr" if remote else "sock_common.skc_v6_rcv_saddr"
    acc.follow((8, "sk_buff.sk"), (4, name), more=acc.off - (100 if remote else 116))


def _pkt_type(acc: Access) -> None:
    acc.load(1, "sk_buff.pkt_type")
    acc.alu(AND, acc.dst, PKT_TYPE_MAX, wide=False)


def _queue_mapping(acc: Access) -> None:
    if not acc.write:
        acc.load(2, "sk_buff.queue_mapping")
        return
    if acc.is_st:
        if acc.insn.imm & 0xFFFFFFFF >= NO_QUEUE_MAPPING:
            acc.ja(0)
            return
    else:
        acc.jmp(JGE, acc.insn.src, NO_QUEUE_MAPPING, 1)
    acc.store(2, "sk_buff.queue_mapping")


def _vlan_present(acc: Access) -> None:
    if "vlan_present_bit" in acc.traits:
        acc.load(1, "sk_buff.vlan_present")
        acc.alu(AND, acc.dst, 1, wide=False)
        return
    acc.load(4, "sk_buff.vlan_all")
    acc.jmp(JEQ, acc.dst, 0, 1)
    acc.alu(MOV, acc.dst, 1, wide=False)


def _ifindex(acc: Access) -> None:
    acc.ldx(8, acc.dst, acc.src, acc.at("sk_buff.dev"))
    acc.jmp(JEQ, acc.dst, 0, 1)
    acc.ldx(4, acc.dst, acc.dst, acc.at("net_device.ifindex"))
    acc.target = 4


def _tc_classid(acc: Access) -> None:
    off = acc.at("sk_buff.cb") + acc.at("qdisc_skb_cb.tc_classid")
    if acc.write:
        acc.put(2, acc.insn.dst, off)
    else:
        acc.ldx(2, acc.dst, acc.src, off)
    acc.target = 2


def _data_end(acc: Access) -> None:
    acc.load(8, "sk_buff.cb", more=acc.at("bpf_skb_data_end.data_end"))


def _data_meta(acc: Access) -> None:
    acc.load(8, "sk_buff.cb", more=acc.at("bpf_skb_data_end.data_meta"))


def _napi_id(acc: Access) -> None:
    acc.load(4, "sk_buff.napi_id")
    acc.jmp(JGE, acc.dst, acc.at("const.min_napi_id"), 1)
    acc.alu(MOV, acc.dst, 0)


def _through_sock(size: int, name: str) -> Callable[[Access], None]:
    def through(acc: Access) -> None:
        acc.follow((8, "sk_buff.sk"), (size, name))

    return through


def _tstamp(acc: Access) -> None:
    if not acc.write:
        acc.load(8, "sk_buff.tstamp")
    else:
        acc.store(8, "sk_buff.tstamp")


def _shared_info(acc: Access, size: int, name: str) -> None:
    if "shinfo_end_pointer" in acc.traits:
        acc.ldx(8, acc.dst, acc.src, acc.at("sk_buff.end"))
    else:
        acc.ldx(4, acc.ax, acc.src, acc.at("sk_buff.end"))
        acc.ldx(8, acc.dst, acc.src, acc.at("sk_buff.head"))
        acc.alu_x(ADD, acc.dst, acc.ax)
    acc.ldx(size, acc.dst, acc.dst, acc.at(name))
    acc.target = size


def _gso_segs(acc: Access) -> None:
    _shared_info(acc, 2, "skb_shared_info.gso_segs")


def _gso_size(acc: Access) -> None:
    _shared_info(acc, 2, "skb_shared_info.gso_size")


def _hwtstamp(acc: Access) -> None:
    _shared_info(acc, 8, "skb_shared_info.hwtstamps")


def _wire_len(acc: Access) -> None:
    acc.load(4, "sk_buff.cb", more=acc.at("qdisc_skb_cb.pkt_len"))


def _sk(acc: Access) -> None:
    acc.load(8, "sk_buff.sk")


_SPECIAL: dict[int, Callable[[Access], None]] = {
    4: _pkt_type,
    12: _queue_mapping,
    20: _vlan_present,
    40: _ifindex,
    72: _tc_classid,
    80: _data_end,
    84: _napi_id,
    88: _through_sock(2, "sock_common.skc_family"),
    92: _through_sock(4, "sock_common.skc_daddr"),
    96: _through_sock(4, "sock_common.skc_rcv_saddr"),
    132: _through_sock(2, "sock_common.skc_dport"),
    136: _through_sock(2, "sock_common.skc_num"),
    140: _data_meta,
    152: _tstamp,
    160: _wire_len,
    164: _gso_segs,
    168: _sk,
    176: _gso_size,
    184: _hwtstamp,
}


def convert_cls(acc: Access) -> None:
    """Convert an access of traffic control programs (tc_cls_act_convert_ctx_access)."""
    if acc.off == 40:
        acc.follow((8, "sk_buff.dev"), (4, "net_device.ifindex"))
    elif acc.off == 152 and "tc_tstamp_type" in acc.traits:
        _cls_tstamp(acc)
    elif acc.off == 180:
        _tstamp_type(acc)
    else:
        convert(acc)


def _cls_tstamp(acc: Access) -> None:
    """Loads and stores that do not know of tstamp_type have it forgotten."""
    mono = acc.at("const.tstamp_mono_mask")
    ingress = acc.at("const.tc_at_ingress_mask")
    where = acc.at("sk_buff.tstamp_bits")
    if acc.write:
        acc.ldx(1, acc.ax, acc.insn.dst, where)
        acc.jmp(JSET, acc.ax, ingress, 1)
        acc.ja(2)
        acc.alu(AND, acc.ax, ~mono, wide=False)
        acc.stx(1, acc.insn.dst, acc.ax, where)
        acc.store(8, "sk_buff.tstamp")
        return
    acc.ldx(1, acc.ax, acc.src, where)
    acc.alu(AND, acc.ax, ingress | mono, wide=False)
    acc.jmp(JNE, acc.ax, ingress | mono, 2)
    acc.alu(MOV, acc.dst, 0)
    acc.ja(1)
    acc.load(8, "sk_buff.tstamp")


def _tstamp_type(acc: Access) -> None:
    where = acc.at("sk_buff.tstamp_bits")
    if "tstamp_type_bits" in acc.traits:
        acc.ldx(1, acc.dst, acc.src, where)
        acc.alu(AND, acc.dst, acc.at("const.tstamp_mono_mask"), wide=False)
        acc.target = 1
        return
    acc.ldx(1, acc.ax, acc.src, where)
    acc.jmp(JSET, acc.ax, acc.at("const.tstamp_mono_mask"), 2)
    acc.alu(MOV, acc.dst, 0, wide=False)
    acc.ja(1)
    acc.alu(MOV, acc.dst, 1, wide=False)
    acc.target = 1


def convert_sk_skb(acc: Access) -> None:
    """Convert an access of sk_skb programs (sk_skb_convert_ctx_access)."""
    if acc.off == 80 and "sk_skb_data_end_cb" not in acc.traits:
        acc.ldx(8, acc.dst, acc.src, acc.at("sk_buff.data"))
        acc.ldx(4, acc.ax, acc.src, acc.at("sk_buff.len"))
        acc.alu_x(ADD, acc.dst, acc.ax)
        acc.ldx(4, acc.ax, acc.src, acc.at("sk_buff.data_len"))
        acc.alu_x(SUB, acc.dst, acc.ax)
    elif 48 <= acc.off < 68:
        off = acc.off - 48 + acc.at("sk_buff.cb") + acc.at("sk_skb_cb.data")
        acc.ldx(acc.size, acc.dst, acc.src, off)
    elif acc.off == 80:
        acc.load(8, "sk_buff.cb", more=acc.at("tcp_skb_cb.data_end"))
    else:
        convert(acc)


def convert_dissector(acc: Access) -> None:
    """Convert an access of flow dissectors (flow_dissector_convert_ctx_access)."""
    name = {76: "data", 80: "data_end", 144: "flow_keys"}[acc.off]
    acc.load(8, f"bpf_flow_dissector.{name}")
