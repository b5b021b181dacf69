"""BPF_PROG_LOAD: attributes, capabilities, what is kept and shown."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from bpfctl import uapi
from bpfctl.btf.build import BtfBuilder
from bpfctl.errors import E, KernelError, errno_name
from bpfctl.kernel import task as caps
from unit.kernel.machine import Machine
from unit.kernel.progs import EXIT, R0_ZERO, load_map, straight

FULL = uapi.ALL_CAPS


def refusal(action, *args, **kwargs) -> str:
    with pytest.raises(KernelError) as found:
        action(*args, **kwargs)
    return errno_name(found.value.code)


@pytest.mark.parametrize(
    ("profile", "attr", "want"),
    [
        ("5.10", {"prog_flags": 0x20}, "EINVAL"),
        ("6.1", {"prog_flags": 0x40}, "EINVAL"),
        ("6.12", {"prog_flags": 0x40000000}, "EINVAL"),
        ("6.12", {"prog_flags": 0x10000}, "EINVAL"),  # standard input is no token
        ("6.12", {"prog_flags": 0x10000, "prog_token_fd": 99}, "EBADF"),
        ("6.12", {"insns": b""}, "E2BIG"),
        ("6.12", {"insns": straight(2)[:-1]}, "EINVAL"),
        ("5.10", {"type": "syscall"}, "EINVAL"),
        ("6.1", {"type": "syscall"}, "EINVAL"),  # it must be sleepable
        ("6.1", {"type": "netfilter", "expected_attach_type": 45}, "EINVAL"),  # since 6.4
        ("6.12", {"type": "unspec"}, "EINVAL"),
        ("6.12", {"type": 33}, "EINVAL"),
        ("6.12", {"prog_name": b"bad-name"}, "EINVAL"),
        ("6.12", {"prog_name": b"sixteen_bytes_xx"}, "EINVAL"),
        ("6.12", {"prog_flags": uapi.BPF_F_SLEEPABLE}, "EINVAL"),
        ("6.12", {"type": "cgroup_skb", "expected_attach_type": 2}, "EINVAL"),
        ("6.12", {"type": "cgroup_sockopt"}, "EINVAL"),
        ("6.1", {"type": "cgroup_sock_addr", "expected_attach_type": 49}, "EINVAL"),
        ("6.12", {"type": "sk_lookup"}, "EINVAL"),
        ("6.12", {"type": "tracing"}, "EINVAL"),  # no attach_btf_id
        ("6.12", {"type": "struct_ops"}, "ENOTSUPP"),
        ("6.12", {"type": "xdp", "attach_btf_id": 5}, "EINVAL"),
        ("6.12", {"func_info_cnt": 1, "prog_btf_fd": 99}, "EBADF"),
    ],
)
def test_refuses(profile: str, attr: dict, want: str):
    machine = Machine(profile)
    assert refusal(machine.load, **attr) == want
    assert machine.paid() == 0
    assert machine.locked() == 0


@pytest.mark.parametrize(
    ("profile", "attr"),
    [
        ("6.1", {"prog_flags": uapi.BPF_F_XDP_HAS_FRAGS, "type": "xdp"}),
        ("6.12", {"type": "syscall", "prog_flags": uapi.BPF_F_SLEEPABLE}),
        ("6.12", {"type": "netfilter", "expected_attach_type": 45}),
        ("6.12", {"type": "cgroup_sock_addr", "expected_attach_type": 49}),
        ("6.12", {"type": "sk_lookup", "expected_attach_type": 36}),
        ("5.10", {"type": "sk_reuseport", "expected_attach_type": 7}),  # no rule before 5.14
        ("6.12", {"type": "tracing", "attach_btf_id": 7, "expected_attach_type": 24}),
        ("6.12", {"prog_name": b"fifteen_chars.x"}),
    ],
)
def test_accepts(profile: str, attr: dict):
    assert Machine(profile).load(**attr) >= 3


def test_attach_type_of_cgroup_sock_has_a_default():
    machine = Machine()
    assert machine.prog(machine.load(type="cgroup_sock")).priv["attach_type"] == 2


@pytest.mark.parametrize(
    ("kind", "mask", "want"),
    [
        ("socket_filter", 0, "ok"),
        ("cgroup_skb", 0, "ok"),
        ("sk_reuseport", 0, "EPERM"),
        ("sk_reuseport", caps.CAP_BPF, "ok"),
        ("xdp", caps.CAP_BPF, "EPERM"),
        ("xdp", caps.CAP_BPF | caps.CAP_NET_ADMIN, "ok"),
        ("kprobe", caps.CAP_BPF | caps.CAP_NET_ADMIN, "EPERM"),
        ("kprobe", caps.CAP_BPF | caps.CAP_PERFMON, "ok"),
        ("kprobe", caps.CAP_SYS_ADMIN, "ok"),
    ],
)
def test_capabilities(kind: str, mask: int, want: str):
    machine = Machine("6.12", unprivileged_bpf_disabled=0)
    bpf = machine.task(caps=mask, uid=1000)
    attach: dict[str, Any] = {"expected_attach_type": 39} if kind == "sk_reuseport" else {}
    if want == "ok":
        machine.load(bpf=bpf, type=kind, **attach)
    else:
        assert refusal(machine.load, bpf=bpf, type=kind, **attach) == want


@pytest.mark.parametrize(("profile", "want"), [("6.1", "EPERM"), ("6.12", "EINVAL")])
def test_unprivileged_bpf_disabled_comes_after_the_flags_since_6_9(profile: str, want: str):
    machine = Machine(profile)
    bpf = machine.task(caps=0, uid=1000)
    assert refusal(machine.load, bpf=bpf, prog_flags=1 << 30) == want
    assert refusal(machine.load, bpf=bpf) == "EPERM"


@pytest.mark.parametrize(
    ("mask", "count", "want"), [(0, 4096, "ok"), (0, 4097, "E2BIG"), (FULL, 4097, "ok")]
)
def test_number_of_insns(mask: int, count: int, want: str):
    machine = Machine("5.10", unprivileged_bpf_disabled=0)
    bpf = machine.task(caps=mask, uid=1000)
    if want == "ok":
        machine.load(straight(count), bpf=bpf)
    else:
        assert refusal(machine.load, straight(count), bpf=bpf) == want


def test_a_million_insns_and_no_more():
    machine = Machine()
    machine.load(straight(1_000_000))
    assert refusal(machine.load, straight(1_000_001)) == "E2BIG"


@pytest.mark.parametrize(
    ("profile", "want"), [("5.10", "a04f5eef06a7f555"), ("6.18", "59f4a931744dcdc6")]
)
def test_tag(profile: str, want: str):
    machine = Machine(profile)
    assert machine.prog(machine.load()).tag.hex() == want


def test_tag_leaves_map_descriptors_out_but_not_constants():
    machine = Machine()
    fds = [machine.array(), machine.array()]
    tags = {machine.prog(machine.load(load_map(fd) + straight(2))).tag for fd in fds}
    blank = hashlib.sha1(load_map(0) + straight(2)).digest()[:8]
    assert tags == {blank}
    constants = [load_map(number, src=0) + straight(2) for number in (1, 2)]
    assert len({machine.prog(machine.load(insns)).tag for insns in constants}) == 2


@pytest.mark.parametrize(
    ("licence", "gpl"), [(b"GPL", 1), (b"Dual MIT/GPL\0x", 1), (b"MIT", 0), (b"gpl", 0)]
)
def test_licence(licence: bytes, gpl: int):
    machine = Machine()
    assert machine.prog(machine.load(license=licence)).gpl_compatible == gpl


def test_maps_are_held_until_the_program_goes():
    machine = Machine()
    first, second = machine.array(), machine.array(value=8)
    ids = tuple(machine.bpf.map_info(fd).id for fd in (second, first))
    fd = machine.load(load_map(second) + load_map(first) + load_map(second) + straight(2))
    info = machine.bpf.obj_info(fd)
    assert isinstance(info, uapi.ProgInfo)
    assert info.map_ids == ids
    for map_fd in (first, second):
        machine.bpf.close(map_fd)
    assert list(machine.bpf.ids(machine.bpf.map_get_next_id)) == sorted(ids)
    machine.bpf.close(fd)
    assert list(machine.bpf.ids(machine.bpf.map_get_next_id)) == []


def test_kept_insns_name_maps_by_id():
    machine = Machine()
    for _ in range(3):
        fd = machine.array(value=16)
    map_id = machine.bpf.map_info(fd).id
    insns = load_map(fd) + load_map(0, src=6, offset=8) + straight(2)
    kept = machine.prog(machine.load(insns, fd_array=(fd,))).insns
    assert kept == load_map(map_id) + load_map(map_id, src=2, offset=8) + straight(2)


def test_btf_is_held_only_with_function_or_line_info():
    machine = Machine()
    btf = BtfBuilder()
    btf.add_func("f", btf.add_func_proto(btf.add_int("int", 4, 1)), 0)
    btf_fd = machine.bpf.btf_load(btf.encode())
    btf_id = machine.bpf.obj_info(btf_fd).id
    assert machine.prog(machine.load(prog_btf_fd=btf_fd)).btf_id == 0
    fd = machine.load(prog_btf_fd=btf_fd, func_info_cnt=1, line_info_cnt=1)
    machine.bpf.close(btf_fd)
    assert machine.kernel.btfs.get(btf_id).refcnt == 1
    machine.bpf.close(fd)
    assert refusal(machine.kernel.btfs.get, btf_id) == "ENOENT"


@pytest.mark.parametrize(("functions", "lines"), [(2, 0), (1, 0), (0, 1)])
def test_info_must_cover_the_functions(functions: int, lines: int):
    from unit.kernel.progs import with_functions

    machine = Machine()
    btf = BtfBuilder()
    btf.add_func("f", btf.add_func_proto(btf.add_int("int", 4, 1)), 0)
    attr: dict[str, Any] = {
        "prog_btf_fd": machine.bpf.btf_load(btf.encode()),
        "func_info_cnt": functions,
        "line_info_cnt": lines,
    }
    if functions == 2:
        machine.load(with_functions([2]), **attr)
    else:
        assert refusal(machine.load, with_functions([2]), **attr) == "EINVAL"


def test_info_and_fdinfo():
    machine = Machine(jit_enable=0)
    fd = machine.load(straight(600), type="xdp", prog_name=b"filter")
    info = machine.bpf.obj_info(fd)
    assert isinstance(info, uapi.ProgInfo)
    assert (info.type, info.name, info.created_by_uid) == (6, b"filter", 0)
    assert (info.xlated_prog_len, info.jited_prog_len) == (4800, 0)
    shown = machine.bpf.fdinfo(fd)
    assert shown["memlock"] == "8192"
    assert shown["prog_jited"] == "0"
    assert shown["prog_tag"] == info.tag.hex()


def test_program_arrays_take_one_kind_of_program():
    machine = Machine()
    table = machine.array(kind="prog_array")
    machine.load(load_map(table, dst=2) + straight(2), type="xdp")
    insns = load_map(table, dst=2) + straight(2)
    assert refusal(machine.load, insns, type="socket_filter") == "EINVAL"
    machine.load(insns, type="xdp")


def test_ids_grow_and_refused_loads_use_none():
    machine = Machine()
    first = machine.prog(machine.load()).id
    assert refusal(machine.load, R0_ZERO) == "EINVAL"
    assert machine.prog(machine.load(R0_ZERO + EXIT)).id == first + 1


def test_a_program_array_entry_keeps_a_program():
    machine = Machine()
    table = machine.array(entries=4, kind="prog_array")
    fd = machine.load()
    prog_id = machine.prog(fd).id
    machine.bpf.map_update_elem(table, bytes(4), fd.to_bytes(4, "little"))
    machine.bpf.close(fd)
    assert machine.kernel.progs.get(prog_id).refcnt == 1
    machine.bpf.close(table)
    assert refusal(machine.kernel.progs.get, prog_id) == "ENOENT"


def test_no_descriptor_no_program(monkeypatch: pytest.MonkeyPatch):
    machine = Machine()
    map_fd = machine.array()

    def full(*args: object) -> int:
        raise KernelError(E.MFILE)

    monkeypatch.setattr(machine.kernel.files, "open", full)
    assert refusal(machine.load, load_map(map_fd) + straight(2)) == "EMFILE"
    assert list(machine.bpf.ids(machine.bpf.prog_get_next_id)) == []
    assert machine.paid() == 0
    assert machine.kernel.maps.get(1).rec.refcnt == 1
