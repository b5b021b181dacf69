"""Storage that belongs to sockets, inodes, tasks and cgroups (kernel/bpf/bpf_*_storage.c)."""

from __future__ import annotations

from bpfctl.kernel.bpf.helpers.decl import Arg, ArgSpec, Flag, Ret, btf, declare


def _storage(number: int, name: str, owner: ArgSpec, variant: str = "") -> None:
    """Declare ``NAME_storage_get`` as ``number`` and ``_delete`` as the next one."""
    declare(
        number, f"{name}_storage_get", Ret.MAP_VALUE_OR_NULL,
        (Arg.CONST_MAP_PTR, owner, Arg.PTR_TO_MAP_VALUE_OR_NULL, Arg.ANYTHING), variant,
    )  # fmt: skip
    declare(number + 1, f"{name}_storage_delete", Ret.INTEGER, (Arg.CONST_MAP_PTR, owner), variant)


declare(81, "get_local_storage", Ret.MAP_VALUE, (Arg.CONST_MAP_PTR, Arg.ANYTHING))
_storage(107, "sk", ArgSpec(Arg.PTR_TO_BTF_ID_SOCK_COMMON))
_storage(107, "sk", btf("sock", Flag.MAYBE_NULL), "tracing")
_storage(145, "inode", btf("inode", Flag.MAYBE_NULL))
_storage(156, "task", btf("task_struct", Flag.MAYBE_NULL))
_storage(210, "cgrp", btf("cgroup", Flag.MAYBE_NULL))
