"""bpf_prog_test_run_sk_lookup(): which socket takes a packet or connection."""

from __future__ import annotations

from bpfctl.errors import E, KernelError
from bpfctl.kernel.bpf.test_run.common import (
    Test,
    bad,
    ctx_finish,
    ctx_init,
    data_finish,
    is_zero,
    repeated,
    word,
)
from bpfctl.kernel.net.plain import PlainContext
from bpfctl.uapi import ProgRunResult

_COOKIE, _FAMILY, _REMOTE_PORT, _LOCAL_PORT, _INGRESS = 0, 8, 36, 60, 64
AF_INET, AF_INET6 = 2, 10
U16_MAX = 0xFFFF


def run(test: Test) -> ProgRunResult:
    """Run a socket lookup program; the cookie of the socket it chose comes back.

    :raises KernelError: EINVAL, E2BIG, EFAULT, EAFNOSUPPORT, ERANGE.
    """
    attr, facts = test.attr, test.facts
    if attr.flags or attr.cpu or attr.batch_size:
        raise bad("flags, cpu or batch_size")
    if attr.data_in is not None or attr.data_size_in or attr.data_out or attr.data_size_out:
        raise bad("data")
    user = ctx_init(attr, facts.sk_lookup_ctx)
    if user is None:
        raise bad("no context")
    if word(user, _COOKIE, 8) or not is_zero(user, _INGRESS, len(user)):
        raise bad("socket cookie or ingress_ifindex")
    if word(user, _LOCAL_PORT) > U16_MAX:
        raise KernelError(E.RANGE, "local_port")
    if facts.sk_lookup_remote_port_checked and word(user, _REMOTE_PORT) > U16_MAX:
        raise KernelError(E.RANGE, "remote_port")
    family = word(user, _FAMILY)
    if family not in (AF_INET, AF_INET6):
        raise KernelError(E.AFNOSUPPORT, f"family {family}")
    ctx = PlainContext(test.mem, _seen(bytes(user), family))
    try:
        retval = repeated(test, ctx)
        chosen = ctx.content()[:8]
        user[_COOKIE : _COOKIE + 8] = chosen
        return ctx_finish(test, data_finish(test, b"", retval), user)
    finally:
        ctx.release()


def _seen(user: bytes, family: int) -> bytes:
    """Return the context as a program reads it: addresses of the other family are zero."""
    remote4, remote6, local4, local6 = 16, 20, 40, 44
    seen = bytearray(user)
    if family == AF_INET:
        seen[remote6 : remote6 + 16] = bytes(16)
        seen[local6 : local6 + 16] = bytes(16)
    else:
        seen[remote4 : remote4 + 4] = bytes(4)
        seen[local4 : local4 + 4] = bytes(4)
    seen[_REMOTE_PORT + 2 : _REMOTE_PORT + 4] = bytes(2)
    return bytes(seen)
