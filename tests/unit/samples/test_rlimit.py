"""RLIMIT_MEMLOCK in libbpf: raising it, probing for it, explaining EPERM."""

import pytest

from bpfctl.errors import E, KernelError
from bpfctl.kernel.kernel import Kernel
from bpfctl.libbpf import rlimit
from bpfctl.libbpf.bpf import Bpf

EPERM = KernelError(E.PERM)


def task(kernel="5.10", memlock=65536, **facts):
    booted = Kernel.in_memory(kernel)
    return Bpf(booted, booted.spawn("t", memlock=memlock, **facts).pid)


@pytest.mark.parametrize(
    ("memlock", "shown"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (65536, "64.0 KiB"),
        ((1 << 20) - 1, "1024.0 KiB"),
        (1 << 20, "1.0 MiB"),
        (8 << 20, "8.0 MiB"),
    ],
)
def test_eperm_of_root_is_explained_with_the_limit(memlock, shown):
    assert rlimit.explain_eperm(task(memlock=memlock), EPERM) == (
        f"permission error while running as root; try raising 'ulimit -l'? current value: {shown}"
    )


@pytest.mark.parametrize(
    ("facts", "err"),
    [
        pytest.param({"uid": 1000}, E.PERM, id="not-root"),
        pytest.param({"memlock": None}, E.PERM, id="no-limit"),
        pytest.param({}, E.NOMEM, id="another-errno"),
    ],
)
def test_what_the_limit_cannot_explain_is_not_explained(facts, err):
    assert rlimit.explain_eperm(task(**facts), KernelError(err)) == ""


def test_the_bump_lifts_soft_and_hard_limit():
    bpf = task(memlock=65536)
    rlimit.bump_memlock(bpf)
    raised = bpf.kernel.task(bpf.pid)
    assert (raised.memlock_soft, raised.memlock_hard) == (None, None)


def test_the_bump_is_refused_without_cap_sys_resource():
    bpf = task(memlock=65536, uid=1000, caps=0)
    with pytest.raises(KernelError) as caught:
        rlimit.bump_memlock(bpf)
    assert caught.value.errno == E.PERM
    assert bpf.kernel.task(bpf.pid).memlock_soft == 65536


@pytest.mark.parametrize(
    ("kernel", "memcg"),
    [("5.10", False), ("5.11", True), ("6.1", True), ("6.12", True), ("6.18", True)],
)
@pytest.mark.parametrize("memlock", [0, None], ids=["limit-0", "unlimited"])
def test_the_probe_tells_the_accountings_apart_whatever_the_limit(kernel, memcg, memlock):
    bpf = task(kernel, memlock)
    assert rlimit.memcg_accounting(bpf) is memcg
    assert bpf.kernel.task(bpf.pid).memlock_soft == memlock
    assert list(bpf.kernel.files.of_task(bpf.pid)) == []


@pytest.mark.parametrize(
    ("kernel", "facts", "limit"),
    [
        pytest.param("5.10", {}, None, id="raised-where-it-matters"),
        pytest.param("5.11", {}, 65536, id="left-where-it-does-not"),
        pytest.param("5.10", {"uid": 1000, "caps": 0}, 65536, id="kept-if-it-must-be"),
    ],
)
def test_the_automatic_bump(kernel, facts, limit):
    bpf = task(kernel, 65536, **facts)
    assert rlimit.auto_bump_memlock(bpf) is (limit is None)
    assert bpf.kernel.task(bpf.pid).memlock_soft == limit
