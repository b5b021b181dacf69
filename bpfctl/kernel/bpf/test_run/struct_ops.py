"""bpf_struct_ops_test_run(): members of bpf_dummy_ops, the only struct that can be run."""

from __future__ import annotations

from bpfctl.errors import E, KernelError
from bpfctl.kernel.bpf.test_run.common import U32, Test, bad
from bpfctl.kernel.net.plain import PlainContext
from bpfctl.uapi import ProgRunResult

ARG_SIZE = 8
NR_ARGS = {"test_1": 1, "test_2": 5, "test_sleepable": 1}


def run(test: Test) -> ProgRunResult:
    """Call a member with the arguments of ``ctx_in``.

    The first one is the address of the caller's ``struct bpf_dummy_ops_state``; the simulator's
    callers have no addresses, so only NULL can be given.

    :raises KernelError: EOPNOTSUPP: a member of another struct, or a state; EINVAL; EFAULT.
    """
    attr = test.attr
    types = {known.name: known for known in test.kernel.profile.struct_ops.types}
    dummy = types.get("bpf_dummy_ops")
    if dummy is None or test.prog.priv.get("attach_btf_id", 0) != dummy.type_id:
        raise KernelError(E.OPNOTSUPP, "not a member of bpf_dummy_ops")
    index = test.prog.priv["attach_type"]
    if index >= len(dummy.members):
        raise bad(f"member {index}")
    size = NR_ARGS[dummy.members[index].name] * ARG_SIZE
    if attr.ctx_size_in != size:
        raise bad(f"ctx_size_in {attr.ctx_size_in}, not {size}")
    given = (attr.ctx_in or b"")[:size]
    if len(given) < size:
        raise KernelError(E.FAULT, "ctx_in")
    if any(given[:ARG_SIZE]):
        raise KernelError(
            E.OPNOTSUPP,
            "not modelled",
            hint="not modelled: a state given to a bpf_dummy_ops member",
        )
    ctx = PlainContext(test.mem, given)
    try:
        return ProgRunResult(retval=test.run(ctx) & U32)
    finally:
        ctx.release()
