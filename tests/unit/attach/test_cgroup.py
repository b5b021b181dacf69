"""Programs on cgroups: modes, order, hierarchy, links."""

from __future__ import annotations

import pytest

from bpfctl.errors import E, KernelError
from bpfctl.isa.insn import encode
from bpfctl.kernel.kernel import Kernel
from bpfctl.store.check import check_state
from bpfctl.store.state import open_kernel, open_storage
from bpfctl.uapi import PROG_TYPE_NUMBER, Cmd, FdAttr, ProgLoadAttr
from bpfctl.uapi_attach import (
    BPF_F_AFTER,
    BPF_F_ALLOW_MULTI,
    BPF_F_ALLOW_OVERRIDE,
    BPF_F_BEFORE,
    BPF_F_PREORDER,
    BPF_F_QUERY_EFFECTIVE,
    BPF_F_REPLACE,
    LinkCreateAttr,
    LinkUpdateAttr,
    ProgAttachAttr,
    ProgQueryAttr,
)

MULTI = BPF_F_ALLOW_MULTI
R0_ONE, EXIT = encode(0xB7, imm=1), encode(0x95)


class Bench:
    """A kernel with cgroups /a and /a/b, and programs to attach to their ingress."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.pid = kernel.start_command()
        self.dirs = {path: self._open(path) for path in ("/a", "/a/b")}

    def _open(self, path: str) -> int:
        found = self.kernel.objects.find_or_create("cgroup", path)
        return self.kernel.objects.open(self.pid, found.id)

    def bpf(self, cmd, attr):
        return self.kernel.bpf(self.pid, cmd, attr)

    def load(self, name: str = "p") -> int:
        attr = ProgLoadAttr(
            PROG_TYPE_NUMBER["cgroup_skb"], R0_ONE + EXIT, prog_name=name.encode()
        )
        return self.bpf(Cmd.PROG_LOAD, attr)

    def attach(self, path: str, prog: int, flags: int = 0, **more: int) -> None:
        self.bpf(Cmd.PROG_ATTACH, ProgAttachAttr(self.dirs[path], prog, 0, flags, **more))

    def detach(self, path: str, prog: int = 0) -> None:
        self.bpf(Cmd.PROG_DETACH, ProgAttachAttr(self.dirs[path], prog, 0))

    def link(self, path: str, prog: int, flags: int = 0) -> int:
        return self.bpf(Cmd.LINK_CREATE, LinkCreateAttr(prog, self.dirs[path], 0, flags))

    def names(self, path: str, flags: int = 0) -> str:
        """Return the names of what is attached, or runs with BPF_F_QUERY_EFFECTIVE."""
        found = self.bpf(Cmd.PROG_QUERY, ProgQueryAttr(self.dirs[path], 0, flags, 64))
        return "".join(self.kernel.progs.get(i).name.decode() for i in found.prog_ids)


@pytest.fixture
def bench() -> Bench:
    return Bench(Kernel.in_memory("6.18"))


def fails(code: int, call, *args, **kwargs) -> None:
    with pytest.raises(KernelError) as caught:
        call(*args, **kwargs)
    assert caught.value.code == code


def test_one_program_takes_the_place_of_the_other(bench):
    a, b = bench.load("a"), bench.load("b")
    bench.attach("/a", a)
    bench.attach("/a", b)
    assert bench.names("/a") == "b"
    bench.detach("/a")
    assert bench.names("/a") == ""
    fails(E.NOENT, bench.detach, "/a")


def test_the_first_program_sets_the_mode(bench):
    a, b = bench.load("a"), bench.load("b")
    bench.attach("/a", a, MULTI)
    fails(E.PERM, bench.attach, "/a", b, 0)
    fails(E.PERM, bench.attach, "/a", b, BPF_F_ALLOW_OVERRIDE)
    fails(E.INVAL, bench.attach, "/a", a, MULTI)
    bench.attach("/a", b, MULTI)
    assert bench.names("/a") == "ab"
    fails(E.INVAL, bench.attach, "/a", b, MULTI | BPF_F_ALLOW_OVERRIDE)


@pytest.mark.parametrize(
    ("mode", "below"), [(0, E.PERM), (BPF_F_ALLOW_OVERRIDE, None), (MULTI, None)]
)
def test_what_an_ancestor_allows(bench, mode, below):
    bench.attach("/a", bench.load("a"), mode)
    if below:
        fails(below, bench.attach, "/a/b", bench.load("b"))
    else:
        bench.attach("/a/b", bench.load("b"))


def test_what_runs_below(bench):
    bench.attach("/a", bench.load("a"), MULTI)
    bench.attach("/a", bench.load("p"), MULTI | BPF_F_PREORDER)
    bench.attach("/a/b", bench.load("b"), MULTI)
    bench.attach("/a/b", bench.load("q"), MULTI | BPF_F_PREORDER)
    assert bench.names("/a/b", BPF_F_QUERY_EFFECTIVE) == "pqba"
    assert bench.names("/a/b") == "bq"


def test_order(bench):
    a, b, c = (bench.load(name) for name in "abc")
    bench.attach("/a", a, MULTI)
    bench.attach("/a", b, MULTI | BPF_F_BEFORE, relative=a)
    bench.attach("/a", c, MULTI | BPF_F_AFTER, relative=b)
    assert bench.names("/a") == "bca"
    fails(E.INVAL, bench.attach, "/a", bench.load("d"), MULTI, relative=a)
    fails(E.NOENT, bench.attach, "/a/b", bench.load("d"), MULTI | BPF_F_AFTER, relative=a)


def test_older_kernels_know_no_order():
    bench = Bench(Kernel.in_memory("6.1"))
    fails(E.INVAL, bench.attach, "/a", bench.load("a"), MULTI | BPF_F_BEFORE)


def test_replace(bench):
    a, b, c = (bench.load(name) for name in "abc")
    bench.attach("/a", a, MULTI)
    bench.attach("/a", b, MULTI)
    bench.attach("/a", c, MULTI | BPF_F_REPLACE, replace_bpf_fd=a)
    assert bench.names("/a") == "cb"
    fails(E.NOENT, bench.attach, "/a", a, MULTI | BPF_F_REPLACE, replace_bpf_fd=a)


def test_revision(bench):
    bench.attach("/a", bench.load("a"), MULTI)
    fails(E.STALE, bench.attach, "/a", bench.load("b"), MULTI, expected_revision=1)
    bench.attach("/a", bench.load("b"), MULTI, expected_revision=2)


def test_no_more_than_64(bench):
    for _ in range(64):
        bench.attach("/a", bench.load(), MULTI)
    fails(E.BIG, bench.attach, "/a", bench.load(), MULTI)


def test_a_link_holds_its_program_and_goes_with_its_descriptor(bench):
    prog = bench.load("a")
    prog_id = bench.kernel.files.get(bench.pid, prog).obj_id
    fd = bench.link("/a", prog)
    bench.kernel.close(bench.pid, prog)
    assert bench.names("/a") == "a"
    bench.bpf(Cmd.LINK_UPDATE, LinkUpdateAttr(fd, bench.load("b")))
    assert bench.names("/a") == "b"
    fails(E.NOENT, bench.kernel.progs.get, prog_id)
    bench.kernel.close(bench.pid, fd)
    assert bench.names("/a") == ""


def test_a_detached_link_stays_and_does_nothing(bench):
    fd = bench.link("/a", bench.load("a"))
    bench.bpf(Cmd.LINK_DETACH, FdAttr(fd))
    assert bench.names("/a") == ""
    info = bench.bpf(Cmd.OBJ_GET_INFO_BY_FD, FdAttr(fd))
    assert (info.details["cgroup_id"], info.prog_id > 0) == (0, True)
    fails(E.NOLINK, bench.bpf, Cmd.LINK_UPDATE, LinkUpdateAttr(fd, bench.load("b")))


def test_a_removed_cgroup_lets_go(bench):
    prog = bench.load("a")
    prog_id = bench.kernel.files.get(bench.pid, prog).obj_id
    bench.attach("/a/b", prog, MULTI)
    fd = bench.link("/a/b", prog)
    bench.kernel.memcg.remove("/a/b")
    assert bench.kernel.progs.get(prog_id).refcnt == 2
    assert bench.bpf(Cmd.OBJ_GET_INFO_BY_FD, FdAttr(fd)).details["cgroup_id"] == 0


def test_every_failure_of_a_link_leaves_nothing(bench):
    """failslab at each allocation of BPF_LINK_CREATE."""
    prog = bench.load("a")
    for nth in range(1, 10):
        before = bench.kernel.memcg.get(1).usage_pages, len(bench.names("/a"))
        bench.kernel.mm.fail_nth = bench.kernel.mm.nr_allocations + nth
        try:
            fd = bench.link("/a", prog)
        except KernelError as exc:
            assert exc.code == E.NOMEM
            assert (bench.kernel.memcg.get(1).usage_pages, len(bench.names("/a"))) == before
        else:
            bench.kernel.mm.fail_nth = 0
            bench.kernel.close(bench.pid, fd)
            break
    else:
        pytest.fail("an allocation that never succeeds")
    assert nth > 1


def test_a_state_with_attachments_is_sound(tmp_path):
    path = str(tmp_path / "state.db")
    with open_kernel(path) as kernel:
        bench = Bench(kernel)
        bench.attach("/a", bench.load("a"), MULTI)
        bench.link("/a", bench.load("b"))
        kernel.exit_task(bench.pid)
    with open_storage(path) as storage:
        assert check_state(storage) == []
