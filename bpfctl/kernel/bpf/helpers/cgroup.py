"""Control groups of tasks, packets and sockets (kernel/bpf/helpers.c, net/core/filter.c)."""

from __future__ import annotations

from bpfctl.kernel.bpf.helpers.decl import Arg, Ret, declare

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
