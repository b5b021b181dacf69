"""xskmap: AF_XDP sockets by index, one list node for each entry."""

from __future__ import annotations

import pytest

from unit.maps.machine import KERNELS, Machine, cells, outcome
from unit.maps.sockets import discard, socket, u32

# slot 0 has socket A. key | socket | flags | outcome
UPDATES = """
0 | A   | 0 | ok
0 | A   | 1 | ok
0 | A   | 2 | ok
0 | B   | 0 | ok
0 | B   | 1 | EEXIST
0 | B   | 2 | ok
1 | A   | 0 | ok
1 | A   | 1 | ok
1 | B   | 2 | ENOENT
1 | B   | 3 | EINVAL
4 | B   | 0 | E2BIG
4 | bad | 0 | E2BIG
1 | bad | 0 | EBADF
1 | bad | 3 | EINVAL
1 | in  | 0 | ENOTSOCK
1 | map | 0 | ENOTSOCK
1 | tcp | 0 | EOPNOTSUPP
"""


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("at", "what", "flags", "want"), cells(UPDATES))
def test_update(kernel, at, what, flags, want):
    machine = Machine(kernel)
    fd = machine.create("xskmap", 4, 4, 4)
    fds = {"A": socket(machine, "xdp"), "B": socket(machine, "xdp"), "tcp": socket(machine)}
    fds.update({"bad": 77, "in": 0, "map": fd})
    machine.map_update_elem(fd, u32(0), u32(fds["A"]))
    before = machine.stat()
    call = outcome(
        lambda: machine.map_update_elem(fd, u32(int(at)), u32(fds[what]), int(flags))
    )
    assert call == want
    if want != "ok" or at == "0":
        assert machine.stat() == before


def test_user_space_cannot_look_up():
    machine = Machine()
    fd = machine.create("xskmap", 4, 4, 4)
    assert outcome(lambda: machine.map_lookup_elem(fd, u32(0))) == "EOPNOTSUPP"


@pytest.mark.parametrize(("at", "want"), [(0, "ok"), (1, "ok"), (4, "EINVAL")])
def test_delete(at, want):
    machine = Machine()
    fd = machine.create("xskmap", 4, 4, 4)
    machine.map_update_elem(fd, u32(0), u32(socket(machine, "xdp")))
    assert outcome(lambda: machine.map_delete_elem(fd, u32(at))) == want


def test_a_closed_socket_leaves_all_its_slots():
    machine = Machine()
    fd = machine.create("xskmap", 4, 4, 4)
    empty = machine.stat(), machine.memlock(fd)
    gone, stays = socket(machine, "xdp"), socket(machine, "xdp")
    with_sockets = machine.stat()
    for index, sock in enumerate((gone, stays, gone)):
        machine.map_update_elem(fd, u32(index), u32(sock))
    assert machine.memlock(fd) == empty[1] + 3 * 32
    assert machine.stat()["slab"] == with_sockets["slab"] + 3 * 40
    discard(machine, gone)
    assert machine.memlock(fd) == empty[1] + 32
    discard(machine, stays)
    assert (machine.stat(), machine.memlock(fd)) == empty


def test_a_socket_outlives_the_map():
    machine = Machine()
    fd, sock = machine.create("xskmap", 4, 4, 4), socket(machine, "xdp")
    machine.map_update_elem(fd, u32(0), u32(sock))
    machine.close(fd)
    discard(machine, sock)
    assert not list(machine.kernel.maps.records.keys_after(None))


@pytest.mark.parametrize("kernel", KERNELS)
def test_sizing_equals_inserts(kernel):
    filled, sized = Machine(kernel), Machine(kernel)
    real, fake = filled.create("xskmap", 4, 4, 50), sized.create("xskmap", 4, 4, 50)
    sock, _ = socket(filled, "xdp"), socket(sized, "xdp")
    for index in range(30):
        filled.map_update_elem(real, u32(index), u32(sock))
    sized.type_of(fake).fill(30)
    assert sized.stat() == filled.stat()
    assert sized.memlock(fake) == filled.memlock(real)
