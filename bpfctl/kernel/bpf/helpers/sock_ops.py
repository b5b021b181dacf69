"""TCP as sock_ops and congestion programs see it (net/core/filter.c, net/ipv4/bpf_tcp_ca.c)."""

from __future__ import annotations

from bpfctl.kernel.bpf.helpers.decl import Arg, Ret, btf, declare

declare(59, "sock_ops_cb_flags_set", Ret.INTEGER, (Arg.PTR_TO_CTX, Arg.ANYTHING))
declare(116, "tcp_send_ack", Ret.INTEGER, (btf("tcp_sock"), Arg.ANYTHING))
declare(
    142, "load_hdr_opt", Ret.INTEGER,
    (Arg.PTR_TO_CTX, Arg.PTR_TO_MEM_WRITE, Arg.CONST_SIZE, Arg.ANYTHING),
)  # fmt: skip
declare(
    143, "store_hdr_opt", Ret.INTEGER,
    (Arg.PTR_TO_CTX, Arg.PTR_TO_MEM_RDONLY, Arg.CONST_SIZE, Arg.ANYTHING), changes_pkt=True,
)  # fmt: skip
declare(
    144,
    "reserve_hdr_opt",
    Ret.INTEGER,
    (Arg.PTR_TO_CTX, Arg.ANYTHING, Arg.ANYTHING),
)
