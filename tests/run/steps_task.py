"""Steps that concern the process: its CPU, its name, time that passes, statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bpfctl.uapi import Cmd, EnableStatsAttr, FdAttr

if TYPE_CHECKING:
    from run.lab import Lab

NSEC_PER_MSEC = 1_000_000
COMM_MAX = 15


def cpu(lab: Lab, step: dict[str, Any]) -> dict[str, Any]:
    """Move to a CPU."""
    lab.kernel.task(lab.pid).cpu = step["cpu"]
    return {}


def sleep(lab: Lab, step: dict[str, Any]) -> dict[str, Any]:
    """Wait; what was due in that time happens."""
    lab.kernel.sleep(lab.pid, int(step["ms"] * NSEC_PER_MSEC))
    return {}


def comm(lab: Lab, step: dict[str, Any]) -> dict[str, Any]:
    """Set the process name."""
    lab.kernel.task(lab.pid).comm = step["name"][:COMM_MAX]
    return {}


def stats(lab: Lab, step: dict[str, Any]) -> dict[str, Any]:
    """Switch run time statistics on."""
    lab.bpf(Cmd.ENABLE_STATS, EnableStatsAttr())
    return {}


def runcnt(lab: Lab, step: dict[str, Any]) -> dict[str, Any]:
    """Tell how often a program ran."""
    info = lab.bpf(Cmd.OBJ_GET_INFO_BY_FD, FdAttr(lab.prog_fd(step.get("prog", 0))))
    return {"run_cnt": info.run_cnt, "recursion_misses": info.recursion_misses}


STEPS = {"cpu": cpu, "sleep": sleep, "spin": sleep, "comm": comm, "stats": stats, "runcnt": runcnt}
