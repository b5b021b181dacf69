"""BPF_MAP_*_BATCH (generic_map_*_batch and __htab_map_lookup_and_delete_batch).

A batch that stops early is not an error of the call as such: the result carries the errno, and
how many elements were done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.errors import E, KernelError
from bpfctl.kernel.bpf.elem import open_map, user_value, value_buffer_size
from bpfctl.kernel.bpf.map import MapType
from bpfctl.kernel.fs import FMODE_READ, FMODE_WRITE
from bpfctl.kernel.records import Task
from bpfctl.uapi import BPF_F_LOCK, BatchAttr, BatchResult

if TYPE_CHECKING:
    from bpfctl.kernel.kernel import Kernel


def _open(kernel: Kernel, task: Task, attr: BatchAttr, operation: str, need: int) -> MapType:
    found = open_map(kernel, task, attr.map_fd, need)
    if operation not in found.batch_offered(kernel.profile):
        raise KernelError(E.NOTSUPP, f"{found.name}: {operation} batch")
    if attr.elem_flags & ~BPF_F_LOCK or attr.flags:
        raise KernelError(E.INVAL, "batch flags")
    if attr.elem_flags & BPF_F_LOCK and "spin_lock" not in found.rec.fields:
        raise KernelError(E.INVAL, "no bpf_spin_lock in the value")
    return found


def _lookup(found: MapType, attr: BatchAttr) -> tuple[list[tuple[bytes, bytes]], BatchResult]:
    if not attr.count:
        return [], BatchResult()
    rows, cursor, err = found.batch_rows(attr.in_batch, attr.count)
    keys = b"".join([row[0] for row in rows])
    values = b"".join([row[1] for row in rows])
    return rows, BatchResult(len(rows), err, cursor, keys, values)


def map_lookup_batch(kernel: Kernel, task: Task, attr: BatchAttr) -> BatchResult:
    """Read up to ``count`` elements behind the cursor."""
    found = _open(kernel, task, attr, "lookup", FMODE_READ)
    return _lookup(found, attr)[1]


def map_lookup_and_delete_batch(kernel: Kernel, task: Task, attr: BatchAttr) -> BatchResult:
    """Read up to ``count`` elements behind the cursor and remove them."""
    found = _open(kernel, task, attr, "lookup_and_delete", FMODE_READ | FMODE_WRITE)
    rows, result = _lookup(found, attr)
    for key, _ in rows:
        found.delete(key)
    return result


def map_update_batch(kernel: Kernel, task: Task, attr: BatchAttr) -> BatchResult:
    """Store ``count`` elements; the first that fails ends it."""
    found = _open(kernel, task, attr, "update", FMODE_WRITE)
    key_size, value_size = found.rec.key_size, value_buffer_size(found)
    if len(attr.keys) < attr.count * key_size or len(attr.values) < attr.count * value_size:
        raise KernelError(E.FAULT, "batch buffers")
    for index in range(attr.count):
        key = attr.keys[index * key_size : (index + 1) * key_size]
        value = attr.values[index * value_size : (index + 1) * value_size]
        try:
            found.update(key, user_value(found, value), attr.elem_flags)
        except KernelError as exc:
            return BatchResult(index, exc.code)
    return BatchResult(attr.count)


def map_delete_batch(kernel: Kernel, task: Task, attr: BatchAttr) -> BatchResult:
    """Remove ``count`` keys; the first that fails ends it."""
    found = _open(kernel, task, attr, "delete", FMODE_WRITE)
    size = found.rec.key_size
    if len(attr.keys) < attr.count * size:
        raise KernelError(E.FAULT, "batch buffers")
    for index in range(attr.count):
        try:
            found.delete(attr.keys[index * size : (index + 1) * size])
        except KernelError as exc:
            return BatchResult(index, exc.code)
    return BatchResult(attr.count)
