"""Sockets: cookies, lookup, references, SYN cookies (net/core/filter.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.errors import E
from bpfctl.kernel.bpf.helpers.decl import Arg, Flag, Ret, args, body, btf, declare, fixed
from bpfctl.kernel.net.cookies import INIT_NETNS_COOKIE, new_cookie

_LOOKUP = (
    Arg.PTR_TO_CTX, Arg.PTR_TO_MEM_RDONLY, Arg.CONST_SIZE_OR_ZERO, Arg.ANYTHING, Arg.ANYTHING,
)  # fmt: skip
_SIZED = {
    "sized_sock_lookups": {
        "args": args(
            Arg.PTR_TO_CTX, Arg.PTR_TO_MEM_RDONLY, Arg.CONST_SIZE, Arg.ANYTHING, Arg.ANYTHING
        )
    }
}
_COOKIE = (
    Arg.PTR_TO_BTF_ID_SOCK_COMMON, Arg.PTR_TO_MEM_RDONLY, Arg.CONST_SIZE,
    Arg.PTR_TO_MEM_RDONLY, Arg.CONST_SIZE,
)  # fmt: skip
IPHDR, IPV6HDR, TCPHDR = 20, 40, 20

declare(46, "get_socket_cookie", Ret.INTEGER, (Arg.PTR_TO_CTX,))
for _kind in ("sock_addr", "sock", "sock_ops"):
    declare(46, "get_socket_cookie", Ret.INTEGER, (Arg.PTR_TO_CTX,), variant=_kind)
declare(46, "get_socket_cookie", Ret.INTEGER, (Arg.PTR_TO_BTF_ID_SOCK_COMMON,), variant="pointer")
declare(47, "get_socket_uid", Ret.INTEGER, (Arg.PTR_TO_CTX,))
declare(64, "bind", Ret.INTEGER, (Arg.PTR_TO_CTX, Arg.PTR_TO_MEM_RDONLY, Arg.CONST_SIZE))
declare(
    82, "sk_select_reuseport", Ret.INTEGER,
    (Arg.PTR_TO_CTX, Arg.CONST_MAP_PTR, Arg.PTR_TO_MAP_KEY, Arg.ANYTHING),
)  # fmt: skip
for _kind in ("", "tc", "xdp", "sock_addr"):
    declare(
        84, "sk_lookup_tcp", Ret.SOCKET_OR_NULL, _LOOKUP, variant=_kind, pkt_access=True,
        acquires=True, changes=_SIZED,
    )  # fmt: skip
    declare(
        85, "sk_lookup_udp", Ret.SOCKET_OR_NULL, _LOOKUP, variant=_kind, pkt_access=True,
        acquires=True, changes=_SIZED,
    )  # fmt: skip
    declare(
        99, "skc_lookup_tcp", Ret.SOCK_COMMON_OR_NULL, _LOOKUP, variant=_kind, pkt_access=True,
        acquires=True, changes=_SIZED,
    )  # fmt: skip
declare(86, "sk_release", Ret.INTEGER, (Arg.PTR_TO_BTF_ID_SOCK_COMMON | Flag.RELEASE,))
declare(95, "sk_fullsock", Ret.SOCKET_OR_NULL, (Arg.PTR_TO_SOCK_COMMON,))
declare(96, "tcp_sock", Ret.TCP_SOCK_OR_NULL, (Arg.PTR_TO_SOCK_COMMON,))
declare(98, "get_listener_sock", Ret.SOCKET_OR_NULL, (Arg.PTR_TO_SOCK_COMMON,))
declare(100, "tcp_check_syncookie", Ret.INTEGER, _COOKIE, gpl_only=True, pkt_access=True)
declare(110, "tcp_gen_syncookie", Ret.INTEGER, _COOKIE, gpl_only=True, pkt_access=True)
declare(122, "get_netns_cookie", Ret.INTEGER, (Arg.PTR_TO_CTX_OR_NULL,))
for _kind in ("sock_addr", "sock", "sock_ops", "sk_msg", "skb"):
    declare(122, "get_netns_cookie", Ret.INTEGER, (Arg.PTR_TO_CTX_OR_NULL,), variant=_kind)
declare(
    124, "sk_assign", Ret.INTEGER,
    (Arg.PTR_TO_CTX, Arg.PTR_TO_BTF_ID_SOCK_COMMON, Arg.ANYTHING),
)  # fmt: skip
declare(
    124, "sk_assign", Ret.INTEGER, (Arg.PTR_TO_CTX, Arg.PTR_TO_SOCKET_OR_NULL, Arg.ANYTHING),
    variant="sk_lookup",
)  # fmt: skip
for _number, _name, _struct in (
    (136, "skc_to_tcp6_sock", "tcp6_sock"),
    (137, "skc_to_tcp_sock", "tcp_sock"),
    (138, "skc_to_tcp_timewait_sock", "tcp_timewait_sock"),
    (139, "skc_to_tcp_request_sock", "tcp_request_sock"),
    (140, "skc_to_udp6_sock", "udp6_sock"),
    (178, "skc_to_unix_sock", "unix_sock"),
):
    declare(_number, _name, Ret.BTF_ID_OR_NULL, (Arg.PTR_TO_BTF_ID_SOCK_COMMON,), ret_btf=_struct)
declare(162, "sock_from_file", Ret.BTF_ID_OR_NULL, (btf("file"),), ret_btf="socket")
declare(
    196, "skc_to_mptcp_sock", Ret.BTF_ID_OR_NULL, (Arg.PTR_TO_SOCK_COMMON,),
    ret_btf="mptcp_sock",
)  # fmt: skip
declare(
    204, "tcp_raw_gen_syncookie_ipv4", Ret.INTEGER,
    (fixed(IPHDR), Arg.PTR_TO_MEM_RDONLY, Arg.CONST_SIZE_OR_ZERO), gpl_only=True,
    pkt_access=True,
)  # fmt: skip
declare(
    205, "tcp_raw_gen_syncookie_ipv6", Ret.INTEGER,
    (fixed(IPV6HDR), Arg.PTR_TO_MEM_RDONLY, Arg.CONST_SIZE_OR_ZERO), gpl_only=True,
    pkt_access=True,
)  # fmt: skip
declare(
    206, "tcp_raw_check_syncookie_ipv4", Ret.INTEGER, (fixed(IPHDR), fixed(TCPHDR)),
    gpl_only=True, pkt_access=True,
)  # fmt: skip
declare(
    207, "tcp_raw_check_syncookie_ipv6", Ret.INTEGER, (fixed(IPV6HDR), fixed(TCPHDR)),
    gpl_only=True, pkt_access=True,
)  # fmt: skip


if TYPE_CHECKING:
    from bpfctl.kernel.bpf.vm.runtime import Runtime

OVERFLOW_UID = 65534


@body(46)
def get_socket_cookie(rt: Runtime, ctx: int) -> int:
    """Return the number of the context's socket, given when it is first asked for."""
    found = rt.state.get("cookie")
    if found is None:
        found = rt.state["cookie"] = new_cookie(rt.kernel)
    return int(found)


@body(47)
def get_socket_uid(rt: Runtime, ctx: int) -> int:
    """Return the owner of the packet's socket: that of a test run has no file, so none."""
    return OVERFLOW_UID


@body(122)
def get_netns_cookie(rt: Runtime, ctx: int) -> int:
    """Return the number of the network namespace: there is one."""
    return INIT_NETNS_COOKIE


def _lookup(rt: Runtime, ctx: int, tuple_: int, size: int, netns: int, flags: int) -> int:
    """Find a socket by addresses and ports: sockets here have none, so there is never one."""
    return 0


for _number in (84, 85, 99):
    body(_number)(_lookup)


@body(86)
def sk_release(rt: Runtime, sock: int) -> int:
    """Give a reference back: EINVAL without a socket."""
    return 0 if sock else -E.INVAL
