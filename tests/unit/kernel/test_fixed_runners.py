"""BPF_PROG_TEST_RUN of programs that sit on functions, or are members of a struct."""

from __future__ import annotations

import pytest

from bpfctl.errors import E, KernelError
from bpfctl.isa.asm import assemble
from bpfctl.kernel.kernel import Kernel
from bpfctl.libbpf.bpf import Bpf
from bpfctl.uapi import PROG_TYPE_NUMBER, ProgLoadAttr, ProgRunAttr
from bpfctl.uapi_attach import ATTACH_TYPE_NUMBER

SEVEN = assemble("r0 = 7\nexit\n")
DUMMY_OPS = {"6.1": 64085, "6.12": 96663}


def run(release: str, kind: str, attach_type: int, btf_id: int, ctx: bytes = b"") -> int | None:
    kernel = Kernel.in_memory(release)
    bpf = Bpf(kernel, kernel.start_command(memlock=None))
    attr = ProgLoadAttr(
        PROG_TYPE_NUMBER[kind],
        SEVEN,
        license=b"GPL",
        expected_attach_type=attach_type,
        attach_btf_id=btf_id,
    )
    fd = bpf.prog_load(attr)
    asked = ProgRunAttr(prog_fd=fd, ctx_in=ctx or None, ctx_size_in=len(ctx))
    return bpf.prog_test_run(asked).retval


@pytest.mark.parametrize(
    ("release", "attach_type", "retval"),
    [
        ("6.1", "trace_fentry", 0),
        ("6.12", "trace_fexit", 0),
        ("5.10", "modify_return", 0x10004),
        ("6.12", "modify_return", 0x20021),
    ],
)
def test_test_functions_return_what_they_return(
    release: str, attach_type: str, retval: int
) -> None:
    assert run(release, "tracing", ATTACH_TYPE_NUMBER[attach_type], 5) == retval


def test_raw_tracepoint_with_types_sits_on_no_function() -> None:
    with pytest.raises(KernelError) as caught:
        run("6.12", "tracing", ATTACH_TYPE_NUMBER["trace_raw_tp"], 5)
    assert caught.value.errno == E.FAULT


@pytest.mark.parametrize("release", sorted(DUMMY_OPS))
def test_member_of_dummy_ops_gets_its_arguments(release: str) -> None:
    assert run(release, "struct_ops", 1, DUMMY_OPS[release], bytes(40)) == 7


@pytest.mark.parametrize(
    ("btf_id", "ctx", "error"),
    [
        (1, bytes(40), E.OPNOTSUPP),
        (DUMMY_OPS["6.12"], b"", E.INVAL),
        (DUMMY_OPS["6.12"], bytes(8), E.INVAL),
        (DUMMY_OPS["6.12"], b"\1" * 40, E.OPNOTSUPP),
    ],
)
def test_what_a_member_is_not_run_with(btf_id: int, ctx: bytes, error: int) -> None:
    with pytest.raises(KernelError) as caught:
        run("6.12", "struct_ops", 1, btf_id, ctx)
    assert caught.value.errno == error
