"""Programs of control groups (kernel/bpf/cgroup.c, net/core/filter.c)."""

from __future__ import annotations

from bpfctl.kernel.bpf.progtypes.decl import (
    BASE_SETS,
    CAP_NET_ADMIN,
    PACKET,
    PACKET_END,
    SOCKET,
    AttachRule,
    CtxLayout,
    Field,
    ProgType,
    Returns,
    declare,
)

SOCK_CREATE, POST_BIND4, POST_BIND6, SOCK_RELEASE = 2, 12, 13, 34
BIND4, BIND6, CONNECT4, CONNECT6 = 8, 9, 10, 11
SENDMSG4, SENDMSG6, RECVMSG4, RECVMSG6 = 14, 15, 19, 20
GETSOCKOPT, SETSOCKOPT = 21, 22
PEERNAME4, PEERNAME6, SOCKNAME4, SOCKNAME6 = 29, 30, 31, 32
UNIX_CONNECT, UNIX_SENDMSG, UNIX_RECVMSG, UNIX_PEERNAME, UNIX_SOCKNAME = 49, 50, 51, 52, 53

_V4 = frozenset((BIND4, CONNECT4, SENDMSG4, RECVMSG4, PEERNAME4, SOCKNAME4))
_V6 = frozenset((BIND6, CONNECT6, SENDMSG6, RECVMSG6, PEERNAME6, SOCKNAME6))
_UNIX = frozenset((UNIX_CONNECT, UNIX_SENDMSG, UNIX_RECVMSG, UNIX_PEERNAME, UNIX_SOCKNAME))
_READ_ONLY_RESULT = frozenset(
    (RECVMSG4, RECVMSG6, PEERNAME4, PEERNAME6, SOCKNAME4, SOCKNAME6, UNIX_RECVMSG, UNIX_PEERNAME,
     UNIX_SOCKNAME)
)  # fmt: skip

_BASE = (*BASE_SETS, "cgroup")
_CURRENT = {"get_cgroup_classid": "current"}

_CREATED = frozenset((SOCK_CREATE, SOCK_RELEASE))
SOCK_FIELDS = (
    Field("bound_dev_if", 0, write=(4,)),
    Field("family", 4, narrow="start"),
    Field("type", 8, narrow="start"),
    Field("protocol", 12, narrow="start"),
    Field("mark", 16, write=(4,)),
    Field("priority", 20, write=(4,)),
    Field("src_ip4", 24, narrow="any"),
    Field("src_ip6", 28, 16, unit=4, narrow="any"),
    Field("src_port", 44, narrow="start"),
    Field("dst_port", 48, 2, narrow="any", also=(4,)),
    Field("dst_ip4", 52, narrow="any"),
    Field("dst_ip6", 56, 16, unit=4, narrow="any"),
    Field("state", 72, narrow="start"),
    Field("rx_queue_mapping", 76, narrow="start"),
)
_SOCK_ATTACH = {
    "bound_dev_if": _CREATED,
    "mark": _CREATED,
    "priority": _CREATED,
    "src_ip4": frozenset((POST_BIND4,)),
    "src_ip6": frozenset((POST_BIND6,)),
    "src_port": frozenset((POST_BIND4, POST_BIND6)),
}


def _restricted(field_: Field) -> Field:
    from dataclasses import replace

    allowed = _SOCK_ATTACH.get(field_.name)
    return replace(field_, attach=allowed, write_attach=allowed)


SOCK_LAYOUT = CtxLayout("bpf_sock", 80, tuple(_restricted(field_) for field_ in SOCK_FIELDS))

declare(
    ProgType(
        "cgroup_sock", 9, CAP_NET_ADMIN, SOCK_LAYOUT, (*_BASE, "cgroup_set_retval", "sock"),
        attach_helpers={SOCK_CREATE: ("sock_create",)},
        variants={
            **_CURRENT, "get_socket_cookie": "sock", "get_netns_cookie": "sock",
            "setsockopt": "sk", "getsockopt": "sk", "sk_storage_get": "",
        },
        attach=AttachRule(frozenset((SOCK_CREATE, POST_BIND4, POST_BIND6, SOCK_RELEASE)), 2),
        returns=(Returns(0, 1),),
    )
)  # fmt: skip

_ADDR_LAYOUT = CtxLayout(
    "bpf_sock_addr",
    72,
    (
        Field("user_family", 0),
        Field("user_ip4", 4, narrow="any", write=(4,), attach=_V4, write_attach=_V4),
        Field(
            "user_ip6", 8, 16, unit=4, wide=True, narrow="any", write=(4, 8), attach=_V6,
            write_attach=_V6,
        ),
        Field("user_port", 24, narrow="any", write=(4,)),
        Field("family", 28),
        Field("type", 32),
        Field("protocol", 36),
        Field(
            "msg_src_ip4", 40, narrow="any", write=(4,), attach=frozenset((SENDMSG4,)),
            write_attach=frozenset((SENDMSG4,)),
        ),
        Field(
            "msg_src_ip6", 44, 16, unit=4, wide=True, narrow="any", write=(4, 8),
            attach=frozenset((SENDMSG6,)), write_attach=frozenset((SENDMSG6,)),
        ),
        Field("sk", 64, 8, becomes=SOCKET),
    ),
)  # fmt: skip

_SETS_RESULT = (BIND4, BIND6, SENDMSG4, SENDMSG6, UNIX_CONNECT, UNIX_SENDMSG)
_SOCK_ADDR = _V4 | _V6 | _UNIX
declare(
    ProgType(
        "cgroup_sock_addr", 18, CAP_NET_ADMIN, _ADDR_LAYOUT, (*_BASE, "sk_perfmon", "sock_addr"),
        attach_helpers={
            **dict.fromkeys(_SOCK_ADDR - {CONNECT4, CONNECT6}, ("sock_addr_options",)),
            **dict.fromkeys(_SETS_RESULT, ("sock_addr_options", "cgroup_set_retval")),
            CONNECT4: ("sock_addr_connect", "cgroup_set_retval"),
            CONNECT6: ("sock_addr_connect", "cgroup_set_retval"),
        },
        variants={
            **_CURRENT, "get_socket_cookie": "sock_addr", "get_netns_cookie": "sock_addr",
            "setsockopt": "sock_addr", "getsockopt": "sock_addr", "sk_lookup_tcp": "sock_addr",
            "sk_lookup_udp": "sock_addr", "skc_lookup_tcp": "sock_addr",
        },
        attach=AttachRule(_SOCK_ADDR),
        returns=(
            Returns(1, 1, _READ_ONLY_RESULT),
            Returns(0, 3, frozenset((BIND4, BIND6)), unless="bind_returns_bool"),
            Returns(0, 1),
        ),
    )
)  # fmt: skip
declare(
    ProgType(
        "cgroup_device", 15, CAP_NET_ADMIN,
        CtxLayout(
            "bpf_cgroup_dev_ctx", 12,
            (Field("access_type", 0, narrow="any"), Field("major", 4), Field("minor", 8)),
        ),
        _BASE, variants=_CURRENT, returns=(Returns(0, 1),),
    )
)  # fmt: skip
declare(
    ProgType(
        "cgroup_sysctl", 23, CAP_NET_ADMIN,
        CtxLayout(
            "bpf_sysctl", 8,
            (
                Field("write", 0, narrow="any"),
                Field("file_pos", 4, narrow="any", write=(4,)),
            ),
        ),
        (*_BASE, "sysctl"), variants=_CURRENT, returns=(Returns(0, 1),),
    )
)  # fmt: skip
_SET, _GET = frozenset((SETSOCKOPT,)), frozenset((GETSOCKOPT,))
declare(
    ProgType(
        "cgroup_sockopt", 25, CAP_NET_ADMIN,
        CtxLayout(
            "bpf_sockopt", 40,
            (
                Field("sk", 0, 8, becomes=SOCKET),
                Field("optval", 8, 8, becomes=PACKET),
                Field("optval_end", 16, 8, becomes=PACKET_END),
                Field("level", 24, write=(4,), write_attach=_SET),
                Field("optname", 28, write=(4,), write_attach=_SET),
                Field("optlen", 32, write=(4,)),
                Field("retval", 36, write=(4,), attach=_GET, write_attach=_GET),
            ),
        ),
        (*_BASE, "cgroup_set_retval", "sockopt"),
        attach_helpers={SETSOCKOPT: ("sockopt_set",)},
        variants={**_CURRENT, "setsockopt": "sk", "getsockopt": "sk"},
        attach=AttachRule(_SET | _GET), returns=(Returns(0, 1),), direct_packet="write",
    )
)  # fmt: skip
