"""Maps of maps (kernel/bpf/map_in_map.c): the template, and taking inner maps."""

from __future__ import annotations

from typing import Any

from bpfctl.errors import E, KernelError
from bpfctl.kernel.bpf.map import MapType
from bpfctl.kernel.records import MapRecord, Task
from bpfctl.uapi import MapCreateAttr

_TEMPLATE_FIELDS = ("type", "key_size", "value_size", "max_entries", "map_flags")


def _inner_map(outer: MapType, pid: int, fd: int) -> MapType:
    file = outer.kernel.files.get(pid, fd)
    if file.obj_kind != "map":
        raise KernelError(E.INVAL, f"fd {fd} is not a map")
    return outer.kernel.maps.get(file.obj_id)


def set_template(outer: MapType, attr: MapCreateAttr, task: Task) -> None:
    """Remember what inner maps must look like (bpf_map_meta_alloc).

    :raises KernelError: EBADF; EINVAL (not a map, or itself a map-in-map); 524 for types that
        cannot be inner maps.
    """
    inner = _inner_map(outer, task.pid, attr.inner_map_fd)
    if inner.is_map_in_map:
        raise KernelError(E.INVAL, "nested map-in-map")
    fields = list(inner.rec.fields)
    if not inner.inner_allowed or (fields and not outer.kernel.profile.checks.inner_special_fields):
        raise KernelError(E.NOTSUPP, f"{inner.name} as inner map")
    template: dict[str, Any] = {name: getattr(inner.rec, name) for name in _TEMPLATE_FIELDS}
    outer.rec.priv["inner"] = {**template, "fields": fields}


def take(outer: MapType, fd: int) -> int:
    """Take a reference to the map behind ``fd`` and return its id (bpf_map_fd_get_ptr).

    :raises KernelError: EBADF; EINVAL when it does not match the template.
    """
    inner = _inner_map(outer, outer.kernel.ctx.in_task.pid, fd)
    template = dict(outer.rec.priv["inner"])
    fields = template.pop("fields")
    same_fields = list(inner.rec.fields) == fields
    if not same_fields or not inner.meta_equal(MapRecord(0, **template)):
        raise KernelError(E.INVAL, "inner map does not match the template")
    outer.kernel.maps.inc(inner.rec.id, user=False)
    return inner.rec.id
