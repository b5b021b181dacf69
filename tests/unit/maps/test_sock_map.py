"""sockmap and sockhash: which sockets they take, cookies, closing."""

from __future__ import annotations

from functools import partial

import pytest

from unit.maps.machine import KERNELS, Machine, cells, outcome
from unit.maps.sockets import cookie, discard, socket, u32, u64

KINDS = ("sockmap", "sockhash")

# socket | first kernel that takes it, "-" for none
SOCKETS = """
tcp established  | 5.10
tcp listening    | 5.10
tcp closed       | -
tcp bound        | -
udp bound        | 5.10
udp established  | 5.10
udp unbound      | -
unix established | 6.1
unix unbound     | -
unix dgram unbound | 6.1
vsock established | 6.6
vsock listening  | -
xdp              | -
packet           | -
"""


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("words", "since"), cells(SOCKETS))
def test_sockets_taken(kernel, kind, words, since):
    machine = Machine(kernel)
    fd, sock = machine.create(kind, 4, 8, 4), socket(machine, words)
    taken = since != "-" and KERNELS.index(kernel) >= KERNELS.index(since)
    want = "ok" if taken else "EOPNOTSUPP"
    assert outcome(lambda: machine.map_update_elem(fd, u32(0), u64(sock))) == want


# sockmap: slot 0 is used. what | key | flags | outcome in a sockmap | in a sockhash
UPDATES = """
sock | 0   | 0 | ok     | ok
sock | 0   | 1 | EEXIST | EEXIST
sock | 0   | 2 | ok     | ok
sock | 1   | 1 | ok     | ok
sock | 1   | 2 | ENOENT | ENOENT
sock | 1   | 3 | EINVAL | EINVAL
sock | 100 | 0 | E2BIG  | ok
sock | 100 | 3 | EINVAL | EINVAL
bad  | 0   | 3 | EBADF  | EBADF
bad  | 100 | 0 | EBADF  | EBADF
in   | 0   | 0 | ENOTSOCK | ENOTSOCK
map  | 0   | 0 | ENOTSOCK | ENOTSOCK
big  | 0   | 0 | EINVAL | EINVAL
"""


@pytest.mark.parametrize("size", [4, 8])
@pytest.mark.parametrize(("what", "at", "flags", "in_map", "in_hash"), cells(UPDATES))
def test_update(what, at, flags, in_map, in_hash, size):
    for kind, want in zip(KINDS, (in_map, in_hash), strict=True):
        machine = Machine()
        fd = machine.create(kind, 4, size, 4)
        fds = {"sock": socket(machine), "bad": 77, "in": 0, "map": fd, "big": 1 << 31}
        machine.map_update_elem(fd, u32(0), u64(socket(machine))[:size])
        new = u64(fds[what])[:size]
        update = partial(machine.map_update_elem, fd, u32(int(at)), new, int(flags))
        assert outcome(update) == want, kind


@pytest.mark.parametrize(
    ("kind", "present", "absent", "beyond"),
    [("sockmap", "ok", "EINVAL", "EINVAL"), ("sockhash", "ok", "ENOENT", "ENOENT")],
)
def test_delete(kind, present, absent, beyond):
    machine = Machine()
    fd = machine.create(kind, 4, 8, 4)
    machine.map_update_elem(fd, u32(0), u64(socket(machine)))
    found = [outcome(partial(machine.map_delete_elem, fd, u32(k))) for k in (0, 1, 100)]
    assert found == [present, absent, beyond]


@pytest.mark.parametrize("kind", KINDS)
def test_user_space_reads_cookies(kind):
    machine = Machine()
    wide, narrow, sock = machine.create(kind, 4, 8, 4), machine.create(kind, 4, 4, 4), 0
    sock = socket(machine)
    machine.map_update_elem(wide, u32(0), u64(sock))
    machine.map_update_elem(narrow, u32(0), u32(sock))
    assert machine.map_lookup_elem(wide, u32(0)) == cookie(machine, sock)
    assert outcome(lambda: machine.map_lookup_elem(wide, u32(1))) == "ENOENT"
    assert outcome(lambda: machine.map_lookup_elem(narrow, u32(0))) == "ENOSPC"


def test_a_full_sockhash_still_replaces():
    machine = Machine()
    fd, sock = machine.create("sockhash", 4, 8, 2), socket(machine)
    for index in range(2):
        machine.map_update_elem(fd, u32(index), u64(sock))
    charged = machine.stat()
    assert outcome(lambda: machine.map_update_elem(fd, u32(2), u64(sock))) == "E2BIG"
    machine.map_update_elem(fd, u32(1), u64(sock))
    assert machine.stat() == charged


@pytest.mark.parametrize("kind", KINDS)
def test_a_closed_socket_leaves(kind):
    machine = Machine()
    fd = machine.create(kind, 4, 8, 4)
    empty = machine.stat(), machine.memlock(fd)
    gone, stays = socket(machine), socket(machine, "udp")
    for index, sock in enumerate((gone, stays, gone)):
        machine.map_update_elem(fd, u32(index), u64(sock))
    kept = cookie(machine, stays)
    discard(machine, gone)
    found = [outcome(partial(machine.map_lookup_elem, fd, u32(k))) for k in range(3)]
    assert found == ["ENOENT", "ok", "ENOENT"]
    assert machine.map_lookup_elem(fd, u32(1)) == kept
    discard(machine, stays)
    assert (machine.stat(), machine.memlock(fd)) == empty


def test_a_socket_that_another_task_has_open_stays():
    machine = Machine()
    fd, sock = machine.create("sockmap", 4, 8, 4), socket(machine)
    other = machine.other_task()
    obj_id = machine.kernel.files.get(machine.pid, sock).obj_id
    machine.kernel.objects.open(other.pid, obj_id)
    machine.map_update_elem(fd, u32(0), u64(sock))
    discard(machine, sock)
    assert outcome(lambda: machine.map_lookup_elem(fd, u32(0))) == "ok"
    machine.kernel.exit_task(other.pid)
    assert outcome(lambda: machine.map_lookup_elem(fd, u32(0))) == "ENOENT"


def test_a_socket_is_free_again_after_its_last_map():
    machine = Machine()
    maps = [machine.create("sockmap", 4, 8, 4), machine.create("sockhash", 4, 8, 4)]
    group = machine.create("reuseport_sockarray", 4, 8, 4)
    sock = socket(machine, "udp reuseport")
    for fd in maps:
        machine.map_update_elem(fd, u32(0), u64(sock))
    outcomes = []
    for fd in maps:
        machine.close(fd)
        outcomes.append(outcome(lambda: machine.map_update_elem(group, u32(0), u64(sock))))
    assert outcomes == ["EBUSY", "ok"]
    again = machine.create("sockmap", 4, 8, 4)
    assert outcome(lambda: machine.map_update_elem(again, u32(0), u64(sock))) == "EBUSY"


def test_a_cost_of_4_gib_is_a_bad_attribute_of_sockhash():
    machine = Machine("5.10")
    assert outcome(lambda: machine.create("sockhash", 512, 4, 1 << 23)) == "EINVAL"
    assert outcome(lambda: machine.create("sockmap", 4, 4, 1 << 30)) == "E2BIG"


@pytest.mark.parametrize("kernel", KERNELS)
def test_sizing_equals_inserts(kernel):
    filled, sized = Machine(kernel), Machine(kernel)
    real, fake = filled.create("sockhash", 8, 4, 50), sized.create("sockhash", 8, 4, 50)
    sock, _ = socket(filled), socket(sized)
    for index in range(30):
        filled.map_update_elem(real, u64(index), u32(sock))
    sized.type_of(fake).fill(30)
    assert sized.stat() == filled.stat()
    assert sized.memlock(fake) == filled.memlock(real)
