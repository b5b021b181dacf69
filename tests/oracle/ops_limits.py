"""What happens at the limits: RLIMIT_MEMLOCK of a user, memory.max of a group."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bpfctl.errors import KernelError, TaskKilled
from bpfctl.libbpf.bpf import Bpf
from oracle.elements import Elements
from oracle.lab import INFINITY, Lab, Prep, changed, name_of
from oracle.ops_maps import Result, Spec, memlock
from oracle.ops_progs import load_minimal

SIGKILL = 9
MOST_OBJECTS = 2000
PREPARER_UID = 999


def maker(lab: Lab, bpf: Bpf, spec: Spec) -> Callable[[Bpf], int]:
    """Return a function that makes one map, or loads one program, and returns its descriptor.

    What the map needs beforehand is made now, by another user without limit.
    """
    if spec.get("isprog"):
        return lambda by: load_minimal(by, spec["insns"], spec.get("prog_type", "socket_filter"))
    lab.become(bpf, 1, None, uid=PREPARER_UID)
    prep = lab.prepare(bpf, spec)
    return lambda by: lab.create(by, spec, prep)


def tried(step: Callable[[], Any]) -> tuple[str, Any]:
    """Return "ok" or an errno, and what ``step`` returned."""
    try:
        return "ok", step()
    except KernelError as exc:
        return name_of(exc), -1


def attempt(lab: Lab, spec: Spec, limit: int) -> tuple[str, int]:
    """Make one object as a user with nothing else charged; return the outcome and memlock."""
    with lab.worker() as bpf:
        make = maker(lab, bpf, spec)
        lab.become(bpf, spec["mode"], limit)
        errno, fd = tried(lambda: make(bpf))
        return errno, memlock(bpf, fd) if errno == "ok" else 0


def rlone(lab: Lab, spec: Spec) -> Result:
    """One create or load under RLIMIT_MEMLOCK = ``lim``."""
    errno, nbytes = attempt(lab, spec, spec["lim"])
    return {"create": errno, "memlock": nbytes} if errno == "ok" else {"create": errno}


def rlmin(lab: Lab, spec: Spec) -> Result:
    """Smallest RLIMIT_MEMLOCK that suffices, by bisection."""
    unlimited, nbytes = attempt(lab, spec, INFINITY)
    result: Result = {"unlimited": unlimited, "limit0": attempt(lab, spec, 0)[0]}
    if unlimited != "ok":
        return result
    result["memlock"] = nbytes
    if result["limit0"] == "ok":
        return {**result, "min_rlimit": 0}
    fails, works = 0, 4096
    while attempt(lab, spec, works)[0] != "ok":
        fails, works = works, 2 * works
    while works - fails > 1:
        middle = (works + fails) // 2
        if attempt(lab, spec, middle)[0] == "ok":
            works = middle
        else:
            fails = middle
    result["min_rlimit"] = works
    result["one_byte_less"] = attempt(lab, spec, works - 1)[0]
    return result


def rlcum(lab: Lab, spec: Spec) -> Result:
    """The same map again and again under ``lim`` until it fails; then who can still make one."""
    mode, limit = spec["mode"], spec["lim"]
    with lab.worker() as bpf, lab.worker() as other, lab.worker() as stranger:
        make = maker(lab, bpf, spec)
        make_other, make_stranger = maker(lab, other, spec), maker(lab, stranger, spec)
        lab.become(bpf, mode, limit)
        uid = lab.task(bpf).uid
        fds: list[int] = []
        errno, fd = tried(lambda: make(bpf))
        while errno == "ok" and len(fds) < MOST_OBJECTS:
            fds.append(fd)
            errno, fd = tried(lambda: make(bpf))
        result: Result = {
            "created": len(fds),
            "errno": errno,
            "memlock_each": memlock(bpf, fds[0]) if fds else 0,
        }
        result["prog_2insns"], fd = tried(lambda: load_minimal(bpf))
        if fd >= 0:
            bpf.close(fd)
        if not fds:
            return result
        bpf.close(fds.pop())
        result["after_close_one_create"] = tried(lambda: make(bpf))[0]
        result["then_again"] = tried(lambda: make(bpf))[0]
        lab.become(other, mode, limit, uid=uid)
        result["same_user_other_process"] = tried(lambda: make_other(other))[0]
        lab.become(stranger, mode, limit)
        result["other_user_same_limit"] = tried(lambda: make_stranger(stranger))[0]
        lab.become(other, mode, 2 * limit + (1 << 20), uid=uid)
        result["same_user_raised_limit"] = tried(lambda: make_other(other))[0]
        lab.become(other, mode, 4096, uid=uid)
        one_page = lab.task(other)
        result["mlock_4096_same_user_limit_4096"] = tried(
            lambda: lab.kernel.memlock.mlock(one_page, 4096)
        )[0]
        return result


def mm(lab: Lab, spec: Spec) -> Result:
    """Maps, programs or updates in a group with memory.max, until something fails."""
    parent = lab.new_group()
    group = lab.new_group(parent)
    with lab.worker() as bpf:
        step, most = _repeated(lab, bpf, group, spec)
        before = lab.counters(group)
        base = before["current"] if spec.get("rel") else 0
        if not spec.get("nolim"):
            lab.limit(group, base + spec["lim"])
        if "plim" in spec:
            lab.limit(parent, base + spec["plim"])
        result: Result = {"current_before": before["current"], "done": 0, "killed": False}
        try:
            for number in range(most):
                step(number)
                result["done"] += 1
        except KernelError as exc:
            result["errno"] = name_of(exc)
        except TaskKilled:
            lab.exit(bpf)
            result.update(killed=True, signal=SIGKILL)
        after = lab.counters(group)
        result["current_after"] = after["current"]
        if not result["killed"]:
            result["delta"] = changed(before, after)
        if "plim" in spec:
            result["parent_current_after"] = lab.counters(parent)["current"]
        for name, path in (("events", group), ("parent_events", parent)):
            result[name] = lab.events(path)
            result[f"{name}_local"] = lab.events(path, local=True)
        return result


def _repeated(
    lab: Lab, bpf: Bpf, group: str, spec: Spec
) -> tuple[Callable[[int], None], int]:
    """Return what is done again and again, and how often at most; the worker is in ``group``."""
    if spec.get("isprog"):
        lab.move(bpf, group)
        most = spec.get("maxn", MOST_OBJECTS)
        return lambda _: _discard(load_minimal(bpf, spec["insns"])), most
    prep = lab.prepare(bpf, spec)
    if not spec.get("upd"):
        lab.move(bpf, group)
        return lambda _: _discard(lab.create(bpf, spec, prep)), MOST_OBJECTS
    return _updates(lab, bpf, group, spec, prep), spec["maxn"]


def _updates(
    lab: Lab, bpf: Bpf, group: str, spec: Spec, prep: Prep
) -> Callable[[int], None]:
    elements = Elements(lab, bpf, spec, prep, spec["maxn"])
    lab.move(bpf, group)
    fd = lab.create(bpf, spec, prep)
    return lambda number: elements.update(fd, number)


def _discard(_: int) -> None:
    """Keep a descriptor open."""
