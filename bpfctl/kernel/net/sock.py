"""Sockets as map values: what a descriptor must be, and which sockets which map takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.errors import E, KernelError
from bpfctl.kernel.records import SimObject
from bpfctl.uapi import INT_MAX

if TYPE_CHECKING:
    from bpfctl.kernel.bpf.map import MapHost

# Protocol (unix: with its type) -> states in which a sockmap takes a socket; absent: any.
_PSOCK_STATES = {
    "tcp": ("established", "listening"),
    "udp": ("established", "bound"),
    "unix stream": ("established",),
    "vsock": ("established",),
}
# Protocol -> states in which it is in the lookup tables that SO_REUSEPORT groups share.
_REUSEPORT_STATES = {"tcp": ("listening",), "udp": ("bound", "established")}


def sockfd_lookup(kernel: MapHost, fd: int) -> SimObject:
    """Return the socket behind a descriptor of the current task.

    :raises KernelError: EBADF; ENOTSOCK.
    """
    return kernel.objects.of_fd(fd, "socket", E.NOTSOCK)


def socket_fd(value: bytes) -> int:
    """Return the descriptor that a value of 4 or 8 bytes holds.

    :raises KernelError: EINVAL when it does not fit an int.
    """
    fd = int.from_bytes(value, "little")
    if fd > INT_MAX:
        raise KernelError(E.INVAL, f"fd {fd}")
    return fd


def check_psock(kernel: MapHost, sock: SimObject) -> None:
    """Refuse sockets that cannot be redirected (sock_map_sk_is_suitable, _state_allowed).

    :raises KernelError: EOPNOTSUPP.
    """
    proto, kind = sock.priv["proto"], sock.priv["type"]
    states = _PSOCK_STATES.get(f"{proto} {kind}" if proto == "unix" else proto)
    known = proto in kernel.profile.net.psock_protocols
    if not known or (states is not None and sock.priv["state"] not in states):
        raise KernelError(E.OPNOTSUPP, f"{proto} socket, {sock.priv['state']}")


def check_reuseport(sock: SimObject) -> None:
    """Refuse what bpf_sk_select_reuseport() could not return (reuseport_array_update_check).

    :raises KernelError: 524; EINVAL; EBUSY when it is in a map already.
    """
    states = _REUSEPORT_STATES.get(sock.priv["proto"])
    if states is None:
        raise KernelError(E.NOTSUPP, sock.priv["proto"])
    if not sock.priv["reuseport"] or sock.priv["state"] not in states:
        raise KernelError(E.INVAL, "not bound with SO_REUSEPORT")
    check_user_data(sock)


def check_user_data(sock: SimObject) -> None:
    """Refuse a socket whose one private pointer is taken.

    :raises KernelError: EBUSY.
    """
    if sock.priv.get("user_data"):
        raise KernelError(E.BUSY, f"a {sock.priv['user_data']} map has the socket")
