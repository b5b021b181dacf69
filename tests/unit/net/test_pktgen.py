"""Generated packets are well formed, the same for a seed, and survive a capture file."""

from __future__ import annotations

import dpkt
import pytest

from bpfctl.errors import CaptureError
from bpfctl.kernel.net.pcap import Writer, read_frames
from bpfctl.kernel.net.pktgen import PROTOCOLS, Traffic, least_size, some

ONE, OTHER = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")


def made(count=1, **facts):
    return list(some(Traffic(**facts), count, ONE, OTHER))


@pytest.mark.parametrize("vlan", [0, 5])
@pytest.mark.parametrize("ipv6", [False, True])
@pytest.mark.parametrize("proto", sorted(PROTOCOLS))
@pytest.mark.parametrize("size", [14, 64, 65, 1514])
def test_checksums_and_lengths_are_right(proto, ipv6, vlan, size):
    traffic = Traffic(proto, size, vlan=vlan, ipv6=ipv6)
    (frame,) = some(traffic, 1, ONE, OTHER)
    assert len(frame) == max(size, least_size(traffic))
    packet = dpkt.ethernet.Ethernet(frame)
    assert (packet.src, packet.dst) == (ONE, OTHER)
    before = bytes(packet.data)
    packet.data.data.sum = 0
    if not ipv6:
        packet.data.sum = 0
    # dpkt computes what is zero.
    assert bytes(packet.data) == before


def test_flows_take_turns():
    frames = made(6, flows=3)
    assert frames[:3] == frames[3:]
    assert len(set(frames)) == 3


def test_the_seed_decides():
    assert made(4, flows=4, seed=1) == made(4, flows=4, seed=1) != made(4, flows=4, seed=2)


def test_a_capture_keeps_frames(tmp_path):
    path = str(tmp_path / "c.pcap")
    frames = made(5, flows=5)
    with Writer(path) as writer:
        for frame in frames:
            writer.write(frame)
    assert list(read_frames(path)) == frames
    assert list(read_frames(path, 2)) == frames[:2]


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"\x0a\x0d\x0d\x0a" + b"\xff" * 60])
def test_what_is_no_capture(tmp_path, content):
    path = tmp_path / "c.pcap"
    path.write_bytes(content)
    with pytest.raises(CaptureError):
        list(read_frames(str(path)))


def test_a_capture_that_is_cut(tmp_path):
    path = tmp_path / "c.pcap"
    with Writer(str(path)) as writer:
        for frame in made(3):
            writer.write(frame)
    content = path.read_bytes()
    for length in range(24, len(content)):
        path.write_bytes(content[:length])
        try:
            assert len(list(read_frames(str(path)))) <= 3
        except CaptureError:
            pass
