"""System calls on maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bpfctl.errors import KernelError
from bpfctl.uapi import Cmd, ElemAttr, FdAttr
from run.values import value_bytes

if TYPE_CHECKING:
    from run.lab import Lab

SORTED = ("hash", "lru_hash", "percpu_hash", "lru_percpu_hash", "hash_of_maps", "sockhash")


def _key(lab: Lab, step: dict[str, Any]) -> bytes | None:
    """Return the key of a step; keyless maps have none."""
    key = step.get("key")
    if isinstance(key, int):
        return key.to_bytes(lab.map_spec(step["map"]).get("key", 4), "little")
    return value_bytes(lab, key) if key else None


def update(lab: Lab, step: dict[str, Any]) -> dict[str, Any]:
    fd = lab.map_fd(step["map"])
    value = value_bytes(lab, step["value"])
    lab.bpf(Cmd.MAP_UPDATE_ELEM, ElemAttr(fd, _key(lab, step), value, step.get("flags", 0)))
    return {}


def delete(lab: Lab, step: dict[str, Any]) -> dict[str, Any]:
    lab.bpf(Cmd.MAP_DELETE_ELEM, ElemAttr(lab.map_fd(step["map"]), _key(lab, step)))
    return {}


def _found(lab: Lab, step: dict[str, Any], cmd: Cmd) -> dict[str, Any]:
    attr = ElemAttr(lab.map_fd(step["map"]), _key(lab, step), None, step.get("flags", 0))
    value = bytearray(lab.bpf(cmd, attr))
    blanks = step.get("zero", [])
    for at, length in zip(blanks[::2], blanks[1::2], strict=True):
        value[at : at + length] = bytes(len(value[at : at + length]))
    return {"value": value.hex()}


def value(lab: Lab, step: dict[str, Any]) -> dict[str, Any]:
    return _found(lab, step, Cmd.MAP_LOOKUP_ELEM)


def lookdel(lab: Lab, step: dict[str, Any]) -> dict[str, Any]:
    return _found(lab, step, Cmd.MAP_LOOKUP_AND_DELETE_ELEM)


def freeze(lab: Lab, step: dict[str, Any]) -> dict[str, Any]:
    lab.bpf(Cmd.MAP_FREEZE, FdAttr(lab.map_fd(step["map"])))
    return {}


def _keys(lab: Lab, number: int) -> list[bytes]:
    fd, found, key = lab.map_fd(number), [], None
    while True:
        try:
            key = lab.bpf(Cmd.MAP_GET_NEXT_KEY, ElemAttr(fd, key))
        except KernelError:
            break
        found.append(key)
    in_order = lab.map_spec(number)["type"] not in SORTED
    return found if in_order else sorted(found)


def dump(lab: Lab, step: dict[str, Any]) -> dict[str, Any]:
    fd, elems = lab.map_fd(step["map"]), []
    for key in _keys(lab, step["map"]):
        try:
            found = lab.bpf(Cmd.MAP_LOOKUP_ELEM, ElemAttr(fd, key)).hex()
        except KernelError:
            continue
        elems.append([key.hex(), found])
    return {"elems": elems}


def nonzero(lab: Lab, step: dict[str, Any]) -> dict[str, Any]:
    elems = dump(lab, step)["elems"]
    return {"elems": [[key, found] for key, found in elems if found.strip("0")]}


def keys(lab: Lab, step: dict[str, Any]) -> dict[str, Any]:
    numbers = [int.from_bytes(key, "little") for key in _keys(lab, step["map"])]
    return {"keys": sorted(numbers)}


STEPS = {
    "update": update,
    "delete": delete,
    "value": value,
    "lookdel": lookdel,
    "freeze": freeze,
    "dump": dump,
    "nonzero": nonzero,
    "keys": keys,
}
