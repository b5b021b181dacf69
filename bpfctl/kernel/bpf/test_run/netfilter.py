"""bpf_prog_test_run_nf(): a packet at a netfilter hook."""

from __future__ import annotations

from bpfctl.kernel.bpf.test_run.common import (
    PAGE_SIZE,
    Test,
    bad,
    ctx_init,
    data_finish,
    data_init,
    is_zero,
    repeated,
)
from bpfctl.kernel.net import eth
from bpfctl.kernel.net.device import net_device
from bpfctl.kernel.net.nf import NFPROTO_IPV4, NFPROTO_IPV6, NfContext
from bpfctl.kernel.net.skb import HEADROOM, TAILROOM, Skb
from bpfctl.uapi import ProgRunResult

HOOK_STATE_SIZE = 48
IPV4_HLEN = 20
LOCAL_OUT = 3
_PROTO_OF_PF = {NFPROTO_IPV4: eth.P_IP, NFPROTO_IPV6: eth.P_IPV6}


def run(test: Test) -> ProgRunResult:
    """Run a netfilter program; nothing but the return value comes back.

    :raises KernelError: EINVAL, E2BIG, EFAULT.
    """
    attr = test.attr
    if attr.flags or attr.cpu or attr.batch_size:
        raise bad("flags, cpu or batch_size")
    if attr.data_size_in < IPV4_HLEN:
        raise bad(f"data_size_in {attr.data_size_in}")
    data = data_init(attr, attr.data_size_in, PAGE_SIZE - HEADROOM - TAILROOM)
    state = ctx_init(attr, HOOK_STATE_SIZE)
    skb = Skb(test.mem, data)
    try:
        device = net_device(test.kernel, 1)
        assert device is not None  # lo is always there
        skb.eth_type_trans(device.address, device.broadcast)
        hook, family = LOCAL_OUT, NFPROTO_IPV4
        if state is not None:
            hook, family = state[0], state[1]
            _check_state(state, skb.protocol)
        nf = NfContext(test.mem, skb, hook, family)
        try:
            return data_finish(test, b"", repeated(test, nf))
        finally:
            nf.release()
    finally:
        skb.release()


def _check_state(state: bytearray, protocol: int) -> None:
    """Refuse a hook state that does not fit (verify_and_copy_hook_state)."""
    hook, family = state[0], state[1]
    if not is_zero(state, 2, HOOK_STATE_SIZE):
        raise bad("hook state with devices, socket or namespace")
    if family not in _PROTO_OF_PF:
        raise bad(f"hook {hook} of family {family}")
    # What leaves this host is not looked at: it has no device yet.
    if hook != LOCAL_OUT and _PROTO_OF_PF[family] != protocol:
        raise bad("packet of another family")
