"""reuseport_sockarray: members of a SO_REUSEPORT group, each in one slot of one map."""

from __future__ import annotations

import pytest

from unit.maps.machine import KERNELS, Machine, cells, outcome
from unit.maps.sockets import cookie, discard, socket, u32, u64

SOCKETS = """
udp bound reuseport       | ok
udp established reuseport | ok
tcp listening reuseport   | ok
udp bound                 | EINVAL
udp unbound reuseport     | EINVAL
tcp bound reuseport       | EINVAL
tcp established reuseport | EINVAL
tcp listening             | EINVAL
unix reuseport            | ENOTSUPP
xdp                       | ENOTSUPP
"""


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("words", "want"), cells(SOCKETS))
def test_sockets_taken(kernel, words, want):
    machine = Machine(kernel)
    fd, sock = machine.create("reuseport_sockarray", 4, 8, 4), socket(machine, words)
    assert outcome(lambda: machine.map_update_elem(fd, u32(0), u64(sock))) == want


@pytest.mark.parametrize(("pack", "want"), [(u32, "EBADF"), (u64, "EINVAL")])
def test_only_values_of_8_bytes_can_be_out_of_range(pack, want):
    machine = Machine()
    fd = machine.create("reuseport_sockarray", 4, len(pack(0)), 4)
    assert outcome(lambda: machine.map_update_elem(fd, u32(0), pack(1 << 31))) == want


# slot 0 has socket A. key | what | flags | outcome
UPDATES = """
0 | B   | 0 | ok
0 | B   | 1 | EEXIST
0 | B   | 2 | ok
1 | B   | 2 | ENOENT
0 | A   | 0 | EBUSY
1 | A   | 0 | EBUSY
1 | B   | 3 | EINVAL
4 | B   | 0 | E2BIG
4 | bad | 3 | EINVAL
4 | bad | 0 | E2BIG
1 | bad | 0 | EBADF
1 | in  | 0 | ENOTSOCK
1 | big | 0 | EINVAL
"""


@pytest.mark.parametrize(("at", "what", "flags", "want"), cells(UPDATES))
def test_update(at, what, flags, want):
    machine = Machine()
    fd = machine.create("reuseport_sockarray", 4, 8, 4)
    fds = {name: socket(machine, "udp reuseport") for name in "AB"}
    fds.update({"bad": 77, "in": 0, "big": 1 << 31})
    machine.map_update_elem(fd, u32(0), u64(fds["A"]))
    call = outcome(
        lambda: machine.map_update_elem(fd, u32(int(at)), u64(fds[what]), int(flags))
    )
    assert call == want


@pytest.mark.parametrize(("at", "want"), [(0, "ok"), (1, "ENOENT"), (4, "E2BIG")])
def test_delete(at, want):
    machine = Machine()
    fd, sock = machine.create("reuseport_sockarray", 4, 4, 4), socket(machine, "udp reuseport")
    machine.map_update_elem(fd, u32(0), u32(sock))
    assert outcome(lambda: machine.map_delete_elem(fd, u32(at))) == want


def test_a_socket_that_was_taken_out_or_replaced_may_come_back():
    machine = Machine()
    fd = machine.create("reuseport_sockarray", 4, 8, 4)
    first, second = socket(machine, "udp reuseport"), socket(machine, "udp reuseport")
    machine.map_update_elem(fd, u32(0), u64(first))
    machine.map_update_elem(fd, u32(0), u64(second))
    machine.map_update_elem(fd, u32(1), u64(first))
    machine.map_delete_elem(fd, u32(1))
    machine.map_update_elem(fd, u32(2), u64(first))
    assert machine.map_lookup_elem(fd, u32(2)) == cookie(machine, first)


def test_a_closed_socket_leaves():
    machine = Machine()
    fd, sock = machine.create("reuseport_sockarray", 4, 8, 4), socket(machine, "udp reuseport")
    machine.map_update_elem(fd, u32(3), u64(sock))
    discard(machine, sock)
    assert outcome(lambda: machine.map_lookup_elem(fd, u32(3))) == "ENOENT"


def test_cookies_take_8_bytes():
    machine = Machine()
    fd = machine.create("reuseport_sockarray", 4, 4, 4)
    assert outcome(lambda: machine.map_lookup_elem(fd, u32(0))) == "ENOSPC"
