"""``net attach`` and ``net detach``."""

from __future__ import annotations

from bpfctl.cli.app.select import prog_fd
from bpfctl.cli.app.session import App
from bpfctl.cli.app.words import Words
from bpfctl.cli.map.create import find_netdev
from bpfctl.errors import CommandError, E, KernelError
from bpfctl.libbpf.link import bpf_prog_attach, bpf_prog_detach, bpf_xdp_attach
from bpfctl.uapi_attach import (
    ATTACH_TYPE_NUMBER,
    BPF_F_BEFORE,
    XDP_FLAGS_DRV_MODE,
    XDP_FLAGS_HW_MODE,
    XDP_FLAGS_SKB_MODE,
    XDP_FLAGS_UPDATE_IF_NOEXIST,
    ProgAttachAttr,
)

INVALID = -E.INVAL & 0xFF
XDP_FLAGS = {
    "xdp": 0,
    "xdpgeneric": XDP_FLAGS_SKB_MODE,
    "xdpdrv": XDP_FLAGS_DRV_MODE,
    "xdpoffload": XDP_FLAGS_HW_MODE,
}
TCX = ("tcx_ingress", "tcx_egress")


def _type(words: Words) -> str:
    word = words.take()
    for name in (*XDP_FLAGS, *TCX):
        if word and name.startswith(word):
            return name
    raise CommandError(f"invalid net attach/detach type: {word}", status=INVALID)


def _device(app: App, words: Words) -> int:
    if not words.next_is("dev"):
        raise CommandError(f"expected 'dev', got: '{words.peek()}'?", status=INVALID)
    words.take()
    name = words.take()
    ifindex = find_netdev(app, name)
    if not ifindex:
        raise CommandError(f"invalid devname {name}", status=INVALID)
    return ifindex


def attach(app: App, words: Words) -> None:
    """Run ``net attach ATTACH_TYPE PROG dev NAME [overwrite]``."""
    words.need(5, INVALID)
    kind = _type(words)
    try:
        fd = prog_fd(app, words)
    except CommandError as exc:
        exc.status = INVALID
        raise
    ifindex = _device(app, words)
    overwrite = False
    if words.left:
        if not words.next_is("overwrite"):
            raise CommandError(f"expected 'overwrite', got: '{words.peek()}'?", status=INVALID)
        words.take()
        overwrite = True
    try:
        if kind in TCX:
            flags = BPF_F_BEFORE if overwrite else 0
            bpf_prog_attach(app.bpf, ProgAttachAttr(ifindex, fd, ATTACH_TYPE_NUMBER[kind], flags))
        else:
            flags = 0 if overwrite else XDP_FLAGS_UPDATE_IF_NOEXIST
            bpf_xdp_attach(app.bpf, ifindex, fd, XDP_FLAGS[kind] | flags)
    except KernelError as exc:
        raise _failed(app, kind, "attach", exc) from exc
    app.out.done()


def detach(app: App, words: Words) -> None:
    """Run ``net detach ATTACH_TYPE dev NAME``."""
    words.need(3, INVALID)
    kind = _type(words)
    ifindex = _device(app, words)
    try:
        if kind in TCX:
            bpf_prog_detach(app.bpf, ProgAttachAttr(ifindex, 0, ATTACH_TYPE_NUMBER[kind]))
        else:
            bpf_xdp_attach(app.bpf, ifindex, -1, XDP_FLAGS[kind])
    except KernelError as exc:
        raise _failed(app, kind, "detach", exc) from exc
    app.out.done()


# What the kernel adds in words to a refused RTM_SETLINK (netlink extended acknowledgement).
_EXTACK = {
    E.BUSY: "XDP program already attached",
    E.EXIST: "Native and generic XDP can't be active at the same time",
    E.OPNOTSUPP: "Underlying driver does not support XDP in native mode",
}


def _failed(app: App, kind: str, verb: str, exc: KernelError) -> CommandError:
    if kind in XDP_FLAGS and exc.code in _EXTACK:
        app.out.err(f"libbpf: Kernel error message: {_EXTACK[exc.code]}\n")
    return CommandError(
        f"interface {kind} {verb} failed: {exc.strerror}",
        status=-exc.code & 0xFF,
        hint=exc.hint,
    )
