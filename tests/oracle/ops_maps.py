"""Operations on maps: create, second descriptor, updates and deletes, who pays."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from bpfctl.errors import KernelError
from bpfctl.libbpf.bpf import Bpf
from oracle.elements import Elements
from oracle.lab import Lab, PrepError, changed, name_of
from oracle.making import map_attr

Spec = dict[str, Any]
Result = dict[str, Any]


def failed(exc: KernelError) -> Result:
    return {"ok": False, "errno": name_of(exc)}


def described(bpf: Bpf, fd: int) -> Result:
    """Return what fdinfo and the info call say about a map."""
    info = bpf.map_info(fd)
    return {
        "memlock": memlock(bpf, fd),
        "map_flags": info.map_flags,
        "key_size": info.key_size,
        "value_size": info.value_size,
        "max_entries": info.max_entries,
        "map_extra": info.map_extra,
    }


def memlock(bpf: Bpf, fd: int) -> int:
    return int(bpf.fdinfo(fd)["memlock"])


def left(lab: Lab, group: str) -> int:
    """Return slab, per-CPU and vmalloc bytes still charged to ``group``."""
    now = lab.counters(group)
    return now["slab"] + now["percpu"] + now["vmalloc"]


def create(lab: Lab, spec: Spec) -> Result:
    """BPF_MAP_CREATE by root; ``K`` copies, under RLIMIT_MEMLOCK ``rl``."""
    group = lab.new_group()
    with lab.worker() as bpf:
        try:
            prep = lab.prepare(bpf, spec)
        except PrepError as exc:
            return {"prep_error": exc.errno, "ok": False, "after_close": left(lab, group)}
        lab.move(bpf, group)
        lab.become(bpf, 0, spec.get("rl"))
        fds = []
        attr = map_attr(spec, prep.inner_fd, prep.btf_fd)
        try:
            fds = [bpf.map_create(attr) for _ in range(spec.get("K", 1))]
        except KernelError as exc:
            result = failed(exc)
        else:
            result = {"ok": True, **described(bpf, fds[0])}
            result["create"] = lab.counters(group)
            result["create_bytes"] = lab.charged_bytes(group)
        if attr.common is not None:
            result["log"] = attr.common.log
        for fd in fds:
            bpf.close(fd)
        result["after_close"] = left(lab, group)
        return result


def second_fd(lab: Lab, spec: Spec) -> Result:
    """Create, then a second descriptor of the same map."""
    group = lab.new_group()
    with lab.worker(group) as bpf:
        fd = lab.create(bpf, spec, lab.prepare(bpf, spec))
        result = {"ok": True, **described(bpf, fd)}
        created = result["create"] = lab.counters(group)
        again = bpf.map_get_fd_by_id(bpf.map_info(fd).id)
        result["fd"] = changed(created, lab.counters(group))
        bpf.close(again)
        bpf.close(fd)
        result["after_close"] = left(lab, group)
        return result


def attempts(steps: Iterable[Callable[[], None]]) -> tuple[int, str]:
    """Run all steps; return how many succeeded, and the errno of the last that did not."""
    done, errno = 0, ""
    for step in steps:
        try:
            step()
            done += 1
        except KernelError as exc:
            errno = name_of(exc)
    return done, errno


def noted(name: str, outcome: tuple[int, str], errno_name: str) -> Result:
    done, errno = outcome
    return {name: done, errno_name: errno} if errno else {name: done}


def update(lab: Lab, spec: Spec) -> Result:
    """Create, ``n`` updates, ``n2`` more, delete of the first ``n``, close."""
    group = lab.new_group()
    with lab.worker() as bpf:
        prep = lab.prepare(bpf, spec)
        n, n2 = spec["n"], spec.get("n2", 0)
        elements = Elements(lab, bpf, spec, prep, n + n2)
        lab.move(bpf, group)
        try:
            fd = lab.create(bpf, spec, prep)
        except KernelError as exc:
            return {**failed(exc), "after_close": left(lab, group)}
        result = {"ok": True, **described(bpf, fd), "create": lab.counters(group)}
        result.update(_steps(lab, bpf, group, elements, fd, n, n2))
        bpf.close(fd)
        elements.close()
        result["after_close"] = left(lab, group)
        return result


def _steps(
    lab: Lab, bpf: Bpf, group: str, elements: Elements, fd: int, n: int, n2: int
) -> Result:
    created = lab.counters(group)
    result: Result = {}

    def note(name: str, past: str, outcome: tuple[int, str]) -> None:
        result.update(noted(past, outcome, f"{name}_errno"))
        result[f"memlock_after_{name}"] = memlock(bpf, fd)
        result[name] = changed(created, lab.counters(group))

    note("update", "updated", attempts(elements.updates(fd, 0, n)))
    if n2:
        note("update2", "updated2", attempts(elements.updates(fd, n, n2)))
    if "lflags" in elements.spec:
        result["lookup"] = looked_up(bpf, fd, elements.key(0), elements.spec["lflags"])
    note("delete", "deleted", attempts(elements.deletes(fd, n)))
    return result


def looked_up(bpf: Bpf, fd: int, key: bytes | None, flags: int) -> str:
    """Look a key up and return "ok" or an errno."""
    try:
        bpf.map_lookup_elem(fd, key, flags=flags)
    except KernelError as exc:
        return name_of(exc)
    return "ok"


def who(lab: Lab, spec: Spec) -> Result:
    """Create in group A, update from its sibling B, remove A, update again, close."""
    parent = lab.new_group()
    a, b = lab.new_group(parent), lab.new_group(parent)
    with lab.worker() as bpf:
        n, n2 = spec.get("n") or 1, spec.get("n2", 0)
        prep = lab.prepare(bpf, spec)
        elements = Elements(lab, bpf, spec, prep, n + n2)
        lab.move(bpf, a)
        before = lab.counters(parent)
        try:
            fd = lab.create(bpf, spec, prep)
        except KernelError as exc:
            return failed(exc)
        result: Result = {"ok": True, "parent_before": before}
        result["creator_create"] = lab.counters(a)
        result["parent_create"] = changed(before, lab.counters(parent))
        lab.move(bpf, b)
        state = lab.counters(a), lab.counters(b)
        result.update(noted("updated", attempts(elements.updates(fd, 0, n)), "update_errno"))
        result["creator_update"] = changed(state[0], lab.counters(a))
        result["updater_update"] = changed(state[1], lab.counters(b))
        result["parent_before_rmdir"] = lab.counters(parent)
        result["rmdir_creator"] = removed(lab, a)
        result["parent_after_rmdir"] = lab.counters(parent)
        result["nr_dying_descendants"] = nr_children(lab, parent) - 1
        if n2:
            state = lab.counters(parent), lab.counters(b)
            result.update(noted("updated2", attempts(elements.updates(fd, n, n2)), "update2_errno"))
            result["parent_update2"] = changed(state[0], lab.counters(parent))
            result["updater_update2"] = changed(state[1], lab.counters(b))
        bpf.close(fd)
        elements.close()
        result["parent_after_close"] = lab.counters(parent)
        return result


def removed(lab: Lab, path: str) -> str:
    """Remove a group and return "ok" or an errno."""
    try:
        lab.remove(path)
    except KernelError as exc:
        return name_of(exc)
    return "ok"


def nr_children(lab: Lab, path: str) -> int:
    memcg = lab.kernel.memcg
    return sum(1 for _ in memcg.children(lab.group(path).id))
