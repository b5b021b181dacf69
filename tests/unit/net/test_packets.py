"""Packets in the arena: room, tags, fragments."""

from __future__ import annotations

import pytest

from bpfctl.errors import E
from bpfctl.kernel.bpf.vm.arena import Arena
from bpfctl.kernel.net import eth, skb_ops
from bpfctl.kernel.net.skb import Field, Skb
from bpfctl.kernel.net.xdp import XdpBuff

UDP4 = (
    bytes.fromhex(
        "02000000000202000000000108004500002812344000401100000a0000010a00000204d2003500140000"
    )
    + b"hello world!"
)


@pytest.fixture
def arena() -> Arena:
    return Arena(memoryview(bytearray(1 << 20)))


def received(arena: Arena, frame: bytes) -> Skb:
    skb = Skb(arena, frame)
    skb.eth_type_trans(bytes(6), bytes(6))
    skb.push(eth.HLEN)
    skb.sync()
    return skb


def test_a_program_sees_length_and_protocol(arena: Arena) -> None:
    skb = received(arena, UDP4)
    assert skb.get(Field.LEN) == len(UDP4)
    assert skb.get(Field.PROTOCOL) == eth.P_IP
    assert arena.read(skb.get(Field.DATA), len(UDP4)) == UDP4


def test_tags_nest_and_come_off_again(arena: Arena) -> None:
    skb = received(arena, UDP4)
    skb.vlan_push(eth.P_8021Q, 5)
    skb.vlan_push(eth.P_8021AD, 6)
    assert (skb.vlan, skb.len) == ((eth.P_8021AD, 6), len(UDP4) + 4)
    assert skb.frame()[12:18].hex() == "810000050800"
    skb.vlan_pop()
    assert skb.vlan == (eth.P_8021Q, 5)
    skb.vlan_pop()
    skb.sync()
    assert not skb.get(Field.VLAN_PRESENT)
    assert skb.buf.bytes() == UDP4


def test_a_packet_moves_when_it_outgrows_its_room(arena: Arena) -> None:
    skb = received(arena, UDP4)
    before = skb.buf.base
    assert skb_ops.change_head(skb, 500, 0) == 0
    assert skb.buf.base != before
    assert skb.buf.bytes() == bytes(500) + UDP4


def test_room_is_made_behind_the_network_header(arena: Arena) -> None:
    skb = received(arena, UDP4)
    assert skb_ops.adjust_room(skb, 4, skb_ops.ADJ_ROOM_NET, 0, 0) == 0
    assert skb.buf.bytes() == UDP4[:34] + bytes(4) + UDP4[34:]
    assert skb_ops.adjust_room(skb, -4, skb_ops.ADJ_ROOM_NET, 0, 0) == 0
    assert skb.buf.bytes() == UDP4


def test_fragments_are_read_and_written_behind_the_page(arena: Arena) -> None:
    buff = XdpBuff(arena, b"a" * 100, 0, [bytearray(b"b" * 50), bytearray(b"c" * 50)])
    assert buff.load(98, 54) == b"aa" + b"b" * 50 + b"cc"
    assert buff.store(99, b"x" * 52) == 0
    assert buff.load(98, 54) == b"a" + b"x" * 52 + b"c"
    assert buff.store(199, b"yy") == -E.INVAL
    assert buff.adjust_tail(-60) == 0
    assert (buff.len, len(buff.frags)) == (140, 1)
