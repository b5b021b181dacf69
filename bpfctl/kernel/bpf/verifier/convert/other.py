"""XDP, control groups, netfilter, perf events (net/core/filter.c, kernel/bpf/cgroup.c ...)."""

from __future__ import annotations

from bpfctl.kernel.bpf.verifier.convert.access import Access


def convert_xdp(acc: Access) -> None:
    """Convert an access to struct xdp_md (xdp_convert_ctx_access)."""
    off = acc.off
    if off < 12:
        acc.load(8, "xdp_buff." + ("data", "data_end", "data_meta")[off // 4])
    elif off == 12:
        acc.follow((8, "xdp_buff.rxq"), (8, "xdp_rxq_info.dev"), (4, "net_device.ifindex"))
    elif off == 16:
        acc.follow((8, "xdp_buff.rxq"), (4, "xdp_rxq_info.queue_index"))
    else:
        acc.follow((8, "xdp_buff.txq"), (8, "xdp_txq_info.dev"), (4, "net_device.ifindex"))


def _spare(*taken: int) -> int:
    reg = 9
    while reg in taken:
        reg -= 1
    return reg


def _nested_store(acc: Access, pointer: str, temp: str, size: int, off: int) -> None:
    """Store through a pointer of the context, with a register saved in it meanwhile."""
    dst, src = acc.insn.dst, acc.insn.src
    reg = _spare(dst, src)
    acc.stx(8, dst, reg, acc.at(temp))
    acc.ldx(8, reg, dst, acc.at(pointer))
    acc.put(size, reg, off)
    acc.ldx(8, reg, dst, acc.at(temp))
    acc.target = size


_ADDR = "bpf_sock_addr_kern."


def convert_sock_addr(acc: Access) -> None:
    """Convert an access to struct bpf_sock_addr (sock_addr_convert_ctx_access)."""
    off = acc.off
    if off == 0:
        _addr_field(acc, "uaddr", 2, acc.at("sockaddr.sa_family"))
    elif off == 4:
        _addr_field(acc, "uaddr", 4, acc.at("sockaddr_in.sin_addr"))
    elif 8 <= off < 24:
        _addr_field(acc, "uaddr", acc.size, acc.at("sockaddr_in6.sin6_addr") + off - 8)
    elif off == 24:
        _addr_field(acc, "uaddr", 2, acc.at("sockaddr_in6.sin6_port"))
    elif off in (28, 32, 36):
        name = {28: "sock_common.skc_family", 32: "sock.sk_type", 36: "sock.sk_protocol"}[off]
        acc.follow((8, f"{_ADDR}sk"), (2, name))
    elif off == 40:
        _addr_field(acc, "t_ctx", 4, 0)
    elif 44 <= off < 60:
        _addr_field(acc, "t_ctx", acc.size, off - 44)
    else:
        acc.load(8, f"{_ADDR}sk")


def _addr_field(acc: Access, pointer: str, size: int, off: int) -> None:
    if acc.write:
        _nested_store(acc, _ADDR + pointer, f"{_ADDR}tmp_reg", size, off)
        return
    acc.ldx(8, acc.dst, acc.src, acc.at(_ADDR + pointer))
    acc.ldx(size, acc.dst, acc.dst, off)
    acc.target = size


_SYSCTL = "bpf_sysctl_kern."


def convert_sysctl(acc: Access) -> None:
    """Convert an access to struct bpf_sysctl (sysctl_convert_ctx_access)."""
    if acc.off == 0:
        acc.load(4, f"{_SYSCTL}write")
    elif acc.write:
        _nested_store(acc, f"{_SYSCTL}ppos", f"{_SYSCTL}tmp_reg", 4, 0)
    else:
        acc.ldx(8, acc.dst, acc.src, acc.at(f"{_SYSCTL}ppos"))
        acc.ldx(acc.size, acc.dst, acc.dst, 0)
        acc.target = 4


_SOCKOPT = "bpf_sockopt_kern."


def convert_sockopt(acc: Access) -> None:
    """Convert an access to struct bpf_sockopt (cg_sockopt_convert_ctx_access)."""
    off = acc.off
    if off < 24:
        acc.load(8, _SOCKOPT + ("sk", "optval", "optval_end")[off // 8])
    elif off < 36:
        acc.rw(4, _SOCKOPT + ("level", "optname", "optlen")[(off - 24) // 4])
    elif "sockopt_retval_in_ctx" in acc.traits:
        acc.rw(4, f"{_SOCKOPT}retval")
    elif acc.write:
        dst, src = acc.insn.dst, acc.insn.src
        reg = _spare(dst, src)
        acc.stx(8, dst, reg, acc.at(f"{_SOCKOPT}tmp_reg"))
        acc.ldx(8, reg, dst, acc.at(f"{_SOCKOPT}current_task"))
        acc.ldx(8, reg, reg, acc.at("task_struct.bpf_ctx"))
        acc.put(4, reg, acc.at("bpf_cg_run_ctx.retval"))
        acc.ldx(8, reg, dst, acc.at(f"{_SOCKOPT}tmp_reg"))
    else:
        acc.follow(
            (8, f"{_SOCKOPT}current_task"), (8, "task_struct.bpf_ctx"),
            (4, "bpf_cg_run_ctx.retval"),
        )  # fmt: skip


def convert_perf_event(acc: Access) -> None:
    """Convert an access to struct bpf_perf_event_data (pe_prog_convert_ctx_access)."""
    kern = "bpf_perf_event_data_kern."
    if acc.off == 168:
        acc.follow((8, f"{kern}data"), (8, "perf_sample_data.period"))
    elif acc.off == 176:
        acc.follow((8, f"{kern}data"), (8, "perf_sample_data.addr"))
    else:
        acc.ldx(8, acc.dst, acc.src, acc.at(f"{kern}regs"))
        acc.ldx(acc.size, acc.dst, acc.dst, acc.off)


def convert_netfilter(acc: Access) -> None:
    """Programs of netfilter see their context as it is."""
    acc.out.append(acc.insn)
