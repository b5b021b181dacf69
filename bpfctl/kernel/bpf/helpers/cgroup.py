"""Control groups of tasks, packets and sockets (kernel/bpf/helpers.c, net/core/filter.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.errors import E
from bpfctl.kernel.bpf.helpers.ctx import U32, s32
from bpfctl.kernel.bpf.helpers.decl import Arg, Ret, body, declare
from bpfctl.kernel.mm.memcg import ROOT_ID

declare(17, "get_cgroup_classid", Ret.INTEGER, (Arg.PTR_TO_CTX,))
declare(17, "get_cgroup_classid", variant="current")
declare(33, "skb_under_cgroup", Ret.INTEGER, (Arg.PTR_TO_CTX, Arg.CONST_MAP_PTR, Arg.ANYTHING))
declare(37, "current_task_under_cgroup", Ret.INTEGER, (Arg.CONST_MAP_PTR, Arg.ANYTHING))
declare(79, "skb_cgroup_id", Ret.INTEGER, (Arg.PTR_TO_CTX,))
declare(80, "get_current_cgroup_id")
declare(83, "skb_ancestor_cgroup_id", Ret.INTEGER, (Arg.PTR_TO_CTX, Arg.ANYTHING))
declare(123, "get_current_ancestor_cgroup_id", Ret.INTEGER, (Arg.ANYTHING,))
declare(128, "sk_cgroup_id", Ret.INTEGER, (Arg.PTR_TO_BTF_ID_SOCK_COMMON,))
declare(129, "sk_ancestor_cgroup_id", Ret.INTEGER, (Arg.PTR_TO_BTF_ID_SOCK_COMMON, Arg.ANYTHING))
declare(151, "skb_cgroup_classid", Ret.INTEGER, (Arg.PTR_TO_CTX,))


if TYPE_CHECKING:
    from bpfctl.kernel.bpf.vm.maps import MapHandle
    from bpfctl.kernel.bpf.vm.runtime import Runtime



def _chain(rt: Runtime, memcg_id: int) -> list[int]:
    """Return the ids from the root down to a cgroup."""
    chain = [memcg_id]
    while chain[-1] != ROOT_ID:
        chain.append(rt.kernel.memcg.get(chain[-1]).parent)
    return chain[::-1]


def _current(rt: Runtime) -> int:
    return rt.task.cgroup if rt.task is not None else ROOT_ID


@body(80)
def get_current_cgroup_id(rt: Runtime) -> int:
    """Return the id of the task's cgroup."""
    return _current(rt)


@body(123)
def get_current_ancestor_cgroup_id(rt: Runtime, level: int) -> int:
    """Return the id of the cgroup's ancestor at a level (0: the root), 0 for none."""
    chain, wanted = _chain(rt, _current(rt)), s32(level)
    return chain[wanted] if 0 <= wanted < len(chain) else 0


@body(79)
def skb_cgroup_id(rt: Runtime, ctx: int) -> int:
    """Return the cgroup of the packet's socket: a test packet's is in the root."""
    return ROOT_ID


@body(83)
def skb_ancestor_cgroup_id(rt: Runtime, ctx: int, level: int) -> int:
    """Return an ancestor of the cgroup of the packet's socket."""
    return ROOT_ID if s32(level) == 0 else 0


@body(37)
def current_task_under_cgroup(rt: Runtime, map_: MapHandle, index: int) -> int:
    """Tell whether the task is in a cgroup of the map or below: 0, 1, EAGAIN, E2BIG."""
    return _under(rt, map_, index, _current(rt))


@body(33)
def skb_under_cgroup(rt: Runtime, ctx: int, map_: MapHandle, index: int) -> int:
    """Tell whether the packet's socket is in a cgroup of the map or below."""
    return _under(rt, map_, index, ROOT_ID)


def _under(rt: Runtime, map_: MapHandle, index: int, memcg_id: int) -> int:
    index &= U32
    if index >= map_.rec.max_entries:
        return -E.BIG
    cell = map_.map.cells.get(index.to_bytes(4, "little"))
    if cell is None:
        return -E.AGAIN
    cgroup = rt.kernel.objects.get(int.from_bytes(cell[0][:4], "little"))
    return int(cgroup.priv["memcg"] in _chain(rt, memcg_id))


@body(17)
def get_cgroup_classid(rt: Runtime, ctx: int = 0) -> int:
    """Return the net_cls class: no cgroup has one."""
    return 0


@body(151)
def skb_cgroup_classid(rt: Runtime, ctx: int) -> int:
    """Return the net_cls class of the packet's socket: none."""
    return 0
