"""bpf_prog_test_run_flow_dissector(): a frame goes in, struct bpf_flow_keys comes out."""

from __future__ import annotations

from bpfctl.kernel.bpf.test_run.common import (
    ETH_HLEN,
    PAGE_SIZE,
    Test,
    bad,
    ctx_finish,
    ctx_init,
    data_finish,
    data_init,
    is_zero,
    word,
)
from bpfctl.kernel.net.flow import FLAGS, FLOW_KEYS_SIZE, FlowDissector
from bpfctl.uapi import ProgRunResult

BPF_OK = 0


def run(test: Test) -> ProgRunResult:
    """Run a flow dissector on the caller's frame.

    :raises KernelError: EINVAL, E2BIG, EFAULT.
    """
    attr = test.attr
    if attr.flags or attr.cpu or attr.batch_size:
        raise bad("flags, cpu or batch_size")
    data = data_init(attr, attr.data_size_in, PAGE_SIZE)
    ctx = ctx_init(attr, FLOW_KEYS_SIZE)
    flags = 0
    if ctx is not None:
        if not is_zero(ctx, 0, FLAGS) or not is_zero(ctx, FLAGS + 4, FLOW_KEYS_SIZE):
            raise bad("flow keys other than flags")
        flags = word(ctx, FLAGS)
    flow = FlowDissector(test.mem, data)
    try:
        retval = 0
        for _ in range(attr.repeat or 1):
            flow.begin(data[12:14], ETH_HLEN, flags)
            retval = test.run(flow)
            flow.clamp(ETH_HLEN, len(data))
        if not test.facts.flow_retval:
            retval = int(retval & 0xFFFFFFFF == BPF_OK)
        return ctx_finish(test, data_finish(test, flow.keys(), retval), ctx)
    finally:
        flow.release()
