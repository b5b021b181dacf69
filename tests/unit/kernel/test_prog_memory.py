"""What programs cost: the formulas of the kernels, and what is left when something fails."""

from __future__ import annotations

import pytest

from bpfctl import uapi
from bpfctl.btf.build import BtfBuilder
from bpfctl.errors import E, KernelError, TaskKilled, errno_name
from bpfctl.isa.insn import Code
from bpfctl.kernel.bpf import prog_load
from bpfctl.kernel.bpf.prog_check import verify
from unit.kernel.machine import Machine
from unit.kernel.progs import call_function, load_map, straight, with_functions

AUX = 2048 + 8
CPUS = 2
COUNTERS = 4 * CPUS + 8 + 32 * CPUS + 64


def percpu(size: int) -> int:
    return size * CPUS + size // 4 * 8


def btf(machine: Machine, functions: int) -> int:
    made = BtfBuilder()
    proto = made.add_func_proto(made.add_int("int", 4, 1))
    for index in range(functions):
        made.add_func(f"f{index}", proto, 0)
    return machine.bpf.btf_load(made.encode())


@pytest.mark.parametrize(
    ("profile", "insns", "pages"),
    [
        ("5.10", 505, 1),
        ("5.10", 506, 2),
        ("6.1", 503, 1),
        ("6.1", 504, 2),
        ("6.18", 500, 1),
        ("6.18", 501, 2),
    ],
)
def test_pages(profile: str, insns: int, pages: int):
    machine = Machine(profile)
    fd = machine.load(straight(insns))
    assert machine.bpf.fdinfo(fd)["memlock"] == str(pages * 4096)


@pytest.mark.parametrize("profile", ["6.1", "6.12", "6.18"])
def test_a_plain_program(profile: str):
    machine = Machine(profile)
    machine.load()
    assert machine.paid() == 4096 + AUX + COUNTERS


def test_5_11_has_no_recursion_counter_yet():
    machine = Machine("5.11")
    machine.load()
    assert machine.paid() == 4096 + 1024 + 8 + 16 * CPUS  # no owners before 5.17


@pytest.mark.parametrize("jit", [0, 1])
def test_functions_cost_copies_with_the_jit(jit: int):
    machine = Machine("6.12", jit_enable=jit)
    machine.load(with_functions([600, 2]))
    copies = (4096 + AUX + percpu(4)) * 3 + 4096
    assert machine.paid() == 8192 + AUX + COUNTERS + jit * copies


@pytest.mark.parametrize(
    ("profile", "jit", "extra"),
    [
        ("6.12", 0, 0),
        ("6.12", 1, 1024 + 8),
        # 6.18: line_info 1600 -> 2048, func_info 8 -> 8, its aux 4 -> 8, each with 8 more
        ("6.18", 0, 2048 + 8 + 16 + 16),
        ("6.18", 1, 2048 + 8 + 16 + 16 + 1024 + 8),
    ],
)
def test_line_info(profile: str, jit: int, extra: int):
    machine = Machine(profile, jit_enable=jit)
    machine.load(straight(100), prog_btf_fd=btf(machine, 1), func_info_cnt=1, line_info_cnt=100)
    assert machine.paid() == 4096 + AUX + COUNTERS + extra


@pytest.mark.parametrize(("profile", "extra"), [("6.12", 0), ("6.18", 24 + 8)])
def test_used_maps(profile: str, extra: int):
    machine = Machine(profile)
    machine.load(b"".join(load_map(machine.array()) for _ in range(3)) + straight(2))
    assert machine.paid() == 4096 + AUX + COUNTERS + (extra and 32 + 8)


@pytest.mark.parametrize("mode", ["nokmem", "nobpf", "off"])
def test_nobody_pays_without_accounting(mode: str):
    machine = Machine("6.12", cgroup_memory=mode)
    machine.load()
    assert machine.paid() == 0


@pytest.mark.parametrize(("limit", "want"), [(8191, "EPERM"), (8192, "ok")])
def test_memlock_limit(limit: int, want: str):
    machine = Machine("5.10")
    bpf = machine.task(memlock=limit, uid=1000)
    try:
        machine.load(straight(600), bpf=bpf)
        got = "ok"
    except KernelError as exc:
        got = errno_name(exc.code)
    assert got == want
    assert machine.locked(1000) == (2 if want == "ok" else 0)
    assert machine.paid() == 0


def test_memlock_is_given_back_with_the_program():
    machine = Machine("5.10")
    fd = machine.load(straight(600))
    assert machine.locked() == 2
    machine.bpf.close(fd)
    assert machine.locked() == 0


def test_the_limit_comes_before_the_verifier():
    machine = Machine("5.10")
    bpf = machine.task(memlock=0)
    with pytest.raises(KernelError) as found:
        machine.load(straight(2)[:8], bpf=bpf)  # no exit
    assert errno_name(found.value.code) == "EPERM"


def test_memory_max_kills_the_loader():
    machine = Machine("6.12")
    machine.kernel.set_memory_knob("/box", "max", 64 << 10)
    loaded = 0

    def load_many() -> None:
        nonlocal loaded
        while True:
            machine.load()
            loaded += 1

    with pytest.raises(TaskKilled):
        load_many()
    # a page each, and two or three programs to a page of small objects
    assert 5 <= loaded <= 12
    assert machine.paid() == 0
    assert machine.kernel.memcg.stat(machine.kernel.memcg.lookup("/box"))["kernel"] == 0


def test_the_verifier_is_charged_for_a_while_on_6_18():
    insns = straight(20_000)
    needed = {}
    for profile in ("6.12", "6.18"):
        machine = Machine(profile)
        machine.load(insns)
        needed[profile] = machine.kernel.memcg.lookup("/box").peak_pages * 4096
    assert needed["6.18"] - needed["6.12"] > 20_000 * 88


def with_everything(profile: str) -> tuple[Machine, dict]:
    """A machine with a map and BTF, and a program that uses both and has two functions."""
    machine = Machine(profile)
    insns = load_map(machine.array()) + call_function(2) + straight(2) + straight(2)
    info = {"prog_btf_fd": btf(machine, 2), "func_info_cnt": 2, "line_info_cnt": 2}
    return machine, {"insns": insns, **info}


def nr_allocations(profile: str) -> int:
    machine, attr = with_everything(profile)
    machine.kernel.mm.nr_allocations = 0
    machine.load(**attr)
    return machine.kernel.mm.nr_allocations


@pytest.mark.parametrize(
    ("profile", "nth"),
    [
        (profile, nth)
        for profile in ("5.10", "6.1", "6.18")
        for nth in range(1, nr_allocations(profile) + 1)
    ],
)
def test_nothing_stays_after_a_failed_allocation(profile: str, nth: int):
    machine, attr = with_everything(profile)
    mm = machine.kernel.mm
    before = (mm.in_use(), machine.locked())
    mm.nr_allocations, mm.fail_nth = 0, nth
    failed = False
    try:
        machine.load(**attr)
    except KernelError:
        failed = True
    if failed:
        assert (mm.in_use(), machine.locked()) == before
        assert machine.paid() == 0
        assert machine.kernel.maps.get(1).rec.refcnt == 1
    else:
        # kmalloc of more than a page may fail: vmalloc serves
        assert profile == "6.18"


# --- a verifier that makes programs longer --------------------------------------


def growing(extra: int):
    def longer(kernel, task, attr, attach_type):
        program = verify(kernel, task, attr, attach_type)
        program.code = Code(straight(len(program.code) + extra))
        return program

    return longer


def test_growth_charges_whole_new_pages(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(prog_load, "_verify", growing(600))
    machine = Machine("5.10")
    fd = machine.load()
    assert machine.locked() == 2
    assert machine.bpf.fdinfo(fd)["memlock"] == "8192"
    info = machine.bpf.obj_info(fd)
    assert isinstance(info, uapi.ProgInfo)
    assert info.xlated_prog_len == 602 * 8
    machine.bpf.close(fd)
    assert machine.locked() == 0


def test_growth_within_the_last_page_is_free(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(prog_load, "_verify", growing(100))
    machine = Machine("5.10")
    machine.load()
    assert machine.locked() == 1


def test_growth_past_the_limit_is_enomem(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(prog_load, "_verify", growing(600))
    machine = Machine("5.10")
    with pytest.raises(KernelError) as found:
        machine.load(bpf=machine.task(memlock=4096))
    assert found.value.code == E.NOMEM
    assert machine.locked() == 0


def test_growth_moves_the_charge(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(prog_load, "_verify", growing(600))
    machine = Machine("6.12")
    fd = machine.load()
    assert machine.paid() == 8192 + AUX + COUNTERS
    machine.bpf.close(fd)
    assert machine.paid() == 0
