"""The rules. Each takes the class under test and raises Violation if it is broken."""

from __future__ import annotations

import inspect
import itertools
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from bpfctl.conformance.commands import commands
from bpfctl.conformance.lab import BOX, Lab, attempt, demand
from bpfctl.errors import E, KernelError, TaskKilled, errno_name
from bpfctl.kernel.bpf.map import MapType
from bpfctl.kernel.profile import PROFILES
from bpfctl.uapi import U32_MAX, MapCreateAttr

CAPABILITIES = ("", "bpf", "net_admin")
MAX_INJECTED = 200
MAX_PAGES = 600
_ROUNDS = 5

Rule = Callable[[type[MapType]], None]


def labs(cls: type[MapType], **settings: Any) -> Iterator[Lab]:
    """Yield a fresh lab for each kernel that has the type."""
    for profile in PROFILES:
        with Lab.boot(cls, profile, **settings) as lab:
            if lab.offered:
                yield lab


def stored(lab: Lab, fd: int) -> list[tuple[bytes | None, bytes]]:
    """Store the example's elements and return those that were taken."""
    taken = []
    for key, value in lab.elements(lab.room):
        result = attempt(lab.bpf.map_update_elem, fd, key, value)
        if result is None:
            taken.append((key, value))
    return taken


def contract(cls: type[MapType]) -> None:
    """The class has what the contract asks for, with the signatures of MapType."""
    demand(isinstance(getattr(cls, "name", None), str) and bool(cls.name), "name is not a string")
    demand(
        isinstance(getattr(cls, "family", None), str) and bool(cls.family),
        "family is not a string",
    )
    demand(
        cls.capability in CAPABILITIES,
        f"capability is {cls.capability!r}, not one of {CAPABILITIES}",
    )
    for name, method in inspect.getmembers(MapType, inspect.isfunction):
        own = inspect.signature(getattr(cls, name))
        demand(
            list(own.parameters) == list(inspect.signature(method).parameters),
            f"{name}{own} does not have the parameters of MapType.{name}",
        )


def creation(cls: type[MapType]) -> None:
    """The example can be created on every kernel that has the type, and closed again."""
    for lab in labs(cls):
        attr = lab.attr()
        before = lab.counters()
        fd = attempt(lab.create, attr)
        demand(
            not isinstance(fd, Exception), f"{lab.profile}: creating the example failed: {fd}"
        )
        lab.demand_sound("after creation")
        lab.bpf.close(fd)
        lab.demand_unchanged(before, "the map was closed")


def errno(cls: type[MapType]) -> None:
    """Odd attributes, keys, values and flags give an errno of the kernel's, never a crash."""
    chance = random.Random(1)
    for lab in labs(cls):
        for attr in _odd_attributes(lab, chance):
            before = lab.counters()
            fd = attempt(lab.create, attr)
            if not isinstance(fd, Exception):
                lab.bpf.close(fd)
            lab.demand_unchanged(before, f"{attr} was tried")
        fd = lab.create()
        for _ in range(40):
            _odd_operation(lab, fd, chance)
        lab.demand_sound("after odd operations")


def _odd_attributes(lab: Lab, chance: random.Random) -> Iterator[MapCreateAttr]:
    sizes = (0, 1, 3, 4, 5, 8, 9, 513, 32769, 1 << 22, U32_MAX)
    for size in sizes:
        yield lab.attr(key_size=size)
        yield lab.attr(value_size=size)
        yield lab.attr(max_entries=size)
    for bit in range(20):
        yield lab.attr(map_flags=lab.cls.example.map_flags ^ 1 << bit)
    for _ in range(10):
        yield lab.attr(
            key_size=chance.choice(sizes),
            value_size=chance.choice(sizes),
            max_entries=chance.choice(sizes),
            map_flags=chance.getrandbits(12),
        )


def _odd_operation(lab: Lab, fd: int, chance: random.Random) -> None:
    found = lab.map_of(fd)
    size = found.rec.key_size
    key = chance.randbytes(size) if size else None
    if size and chance.random() < 0.5:
        key = chance.randrange(4).to_bytes(size, "little")
    slots = lab.kernel.possible_cpus() if found.percpu else 1
    value = chance.randbytes((-(-found.rec.value_size // 8) * 8) * slots + 8)
    flags = chance.choice((0, 1, 2, 3, 4, 8, 1 << 20))
    call, *args = chance.choice(
        (
            (lab.bpf.map_lookup_elem, fd, key, 0, value),
            (lab.bpf.map_update_elem, fd, key, value, flags),
            (lab.bpf.map_delete_elem, fd, key),
            (lab.bpf.map_get_next_key, fd, key),
            (lab.bpf.map_get_next_key, fd, None),
            (lab.bpf.map_lookup_and_delete_elem, fd, key, flags),
        )
    )
    attempt(call, *args)


def elements(cls: type[MapType]) -> None:
    """What an update stored a lookup finds, the walk ends and visits each key once."""
    for lab in labs(cls):
        fd = lab.create()
        taken = stored(lab, fd)
        demand(
            bool(taken) or not cls.example.writable,
            f"{lab.profile}: not one element of the example could be stored",
        )
        _demand_found(lab, fd, taken)
        _demand_walk(lab, fd)
        lab.demand_sound("with elements")


def _demand_found(lab: Lab, fd: int, taken: list[tuple[bytes | None, bytes]]) -> None:
    found = lab.map_of(fd)
    if found.fd_values or lab.cls.example.elements is not None:
        return  # values read back as ids, or as the type's own example knows
    for key, value in taken:
        got = attempt(lab.bpf.map_lookup_elem, fd, key, 0, value)
        if isinstance(got, KernelError) and got.code in (E.NOTSUPP, E.OPNOTSUPP):
            return
        if key is not None:
            demand(got == value, f"{lab.profile}: lookup of {key.hex()} gave {got!r}")


def _demand_walk(lab: Lab, fd: int) -> None:
    seen: list[bytes] = []
    key: Any = None
    while True:
        key = attempt(lab.bpf.map_get_next_key, fd, key)
        if isinstance(key, Exception):
            break
        seen.append(key)
        demand(
            len(seen) <= 1 << 16 and seen.count(key) == 1 if len(seen) < 100 else True,
            f"{lab.profile}: get_next_key gives {key.hex()} again",
        )
        demand(
            len(key) == lab.map_of(fd).rec.key_size,
            f"{lab.profile}: get_next_key gives a key of {len(key)} bytes",
        )
        if len(seen) > 1 << 16:
            break
    ended = isinstance(key, KernelError) and key.code in (
        E.NOENT, E.NOTSUPP, E.OPNOTSUPP, E.INVAL,
    )
    demand(ended, f"{lab.profile}: the walk ends with {key!r}, not ENOENT")


def flags(cls: type[MapType]) -> None:
    """BPF_NOEXIST on a present key and BPF_EXIST on an absent one are refused; so are others."""
    for lab in labs(cls):
        fd = lab.create()
        pairs = lab.elements(2)
        key, value = pairs[0]
        other = pairs[1][1]
        one_value = cls.cpu_flags and lab.kernel.profile.checks.cpu_flags
        for odd in (3, 32 if one_value else 8, 1 << 32):
            result = attempt(lab.bpf.map_update_elem, fd, key, value, odd)
            demand(
                isinstance(result, KernelError),
                f"{lab.profile}: an update with flags {odd:#x} succeeds",
            )
        if attempt(lab.bpf.map_update_elem, fd, key, value) is None:
            result = attempt(lab.bpf.map_update_elem, fd, key, other, 1)
            demand(
                isinstance(result, KernelError),
                f"{lab.profile}: BPF_NOEXIST succeeds where the element exists",
            )


def deletion(cls: type[MapType]) -> None:
    """Deleting everything, and closing with elements inside, gives all memory back."""
    for lab in labs(cls):
        pairs = lab.elements(lab.room)
        attr = lab.attr()
        before = lab.counters()
        fd = lab.create(attr)
        for key, value in pairs:
            attempt(lab.bpf.map_update_elem, fd, key, value)
        for key, _ in pairs:
            attempt(lab.bpf.map_delete_elem, fd, key)
        lab.demand_sound("after deletes")
        for key, value in pairs:
            attempt(lab.bpf.map_update_elem, fd, key, value)
        lab.bpf.close(fd)
        lab.demand_unchanged(before, "a map with elements was closed")
        lab.demand_sound("after closing")


def reuse(cls: type[MapType]) -> None:
    """Filling and emptying a map again and again takes no more memory each time."""
    for lab in labs(cls):
        fd = lab.create()
        pairs = lab.elements(lab.room)
        grown = []
        for _ in range(_ROUNDS):
            for key, value in pairs:
                attempt(lab.bpf.map_update_elem, fd, key, value)
            for key, _ in pairs:
                attempt(lab.bpf.map_delete_elem, fd, key)
            grown.append(lab.counters()["memory in use"])
        # What caches keep, they keep from the first round on.
        rising = all(less < more for less, more in itertools.pairwise(grown[1:]))
        demand(
            not rising,
            f"{lab.profile}: deleted elements are not freed: {lab.room} put in and deleted "
            f"{_ROUNDS} times leave {', '.join(map(str, grown))} bytes in use",
        )


def failslab(cls: type[MapType]) -> None:
    """Whichever allocation of a creation fails, nothing stays charged or allocated."""
    for lab in labs(cls):
        attr = lab.attr()
        before = lab.counters()
        for nth in range(1, MAX_INJECTED):
            lab.kernel.mm.nr_allocations = 0
            lab.kernel.mm.fail_nth = nth
            fd = attempt(lab.create, attr)
            reached = lab.kernel.mm.nr_allocations >= nth
            lab.kernel.mm.fail_nth = 0
            if not isinstance(fd, Exception):
                lab.bpf.close(fd)
            else:
                demand(
                    isinstance(fd, KernelError) and fd.code == E.NOMEM,
                    f"{lab.profile}: a failed allocation gives {fd!r}, not ENOMEM",
                )
            lab.demand_unchanged(before, f"allocation {nth} of the creation failed")
            if not reached:
                break
        lab.demand_sound("after failed creations")


def failslab_update(cls: type[MapType]) -> None:
    """An allocation that fails in an update leaves the map and its charges as they were."""
    for lab in labs(cls):
        pairs = lab.elements(lab.room)
        fd = lab.create()
        for key, value in pairs:
            keys = list(_keys(lab, fd))
            lab.kernel.mm.nr_allocations = 0
            lab.kernel.mm.fail_nth = 1
            result = attempt(lab.bpf.map_update_elem, fd, key, value)
            failed = lab.kernel.mm.nr_allocations and isinstance(result, KernelError)
            lab.kernel.mm.fail_nth = 0
            if failed and result.code == E.NOMEM:
                demand(
                    list(_keys(lab, fd)) == keys,
                    f"{lab.profile}: an update that failed with ENOMEM changed the keys",
                )
            lab.demand_sound("after an update whose allocation failed")


def _keys(lab: Lab, fd: int) -> Iterator[bytes]:
    key: Any = None
    for _ in range(1000):
        key = attempt(lab.bpf.map_get_next_key, fd, key)
        if isinstance(key, Exception):
            return
        yield key


def memory_max(cls: type[MapType]) -> None:
    """Under every memory.max a creation passes, fails with ENOMEM or is killed, and is undone."""
    for lab in labs(cls):
        if not lab.kernel.profile.accounting.accounted:
            continue
        pages = 0
        while pages < MAX_PAGES:
            with Lab.boot(cls, lab.profile) as tight:
                attr = tight.attr()
                before = tight.counters()
                base = tight.kernel.memcg.lookup(BOX).usage_pages
                tight.kernel.set_memory_knob(BOX, "max", (base + pages) * 4096)
                result = attempt(tight.create, attr)
                if not isinstance(result, (Exception,)):
                    break
                if isinstance(result, KernelError):
                    demand(
                        result.code == E.NOMEM,
                        f"{lab.profile}: memory.max gives {errno_name(result.code)}, not ENOMEM",
                    )
                    tight.demand_unchanged(before, "memory.max refused the map")
                demand(
                    isinstance(result, (KernelError, TaskKilled)), f"{lab.profile}: {result!r}"
                )
                tight.demand_sound("after memory.max refused the map")
            pages += 1 + pages // 4


def memlock(cls: type[MapType]) -> None:
    """In the rlimit era the smallest RLIMIT_MEMLOCK that works is what ``memlock`` shows."""
    for lab in labs(cls):
        if not lab.kernel.profile.precharges(cls.family):
            continue
        if lab.kernel.profile.accounting.memlock != "charged":
            continue
        attr = lab.attr()
        fd = lab.create(attr)
        charged = int(lab.bpf.fdinfo(fd)["memlock"])
        lab.bpf.close(fd)
        demand(
            charged > 0 or not lab.kernel.profile.precharges(cls.family),
            f"{lab.profile}: memlock_cost() is nothing",
        )
        task = lab.kernel.task(lab.bpf.pid)
        task.memlock_soft = lab.kernel.memlock.locked_pages(0) * 4096 + charged
        lab.bpf.close(lab.create(attr))
        if charged:
            task.memlock_soft -= 1
            before = lab.counters()
            result = attempt(lab.create, attr)
            wanted = (cls.charge_errno or E.PERM,)
            demand(
                isinstance(result, KernelError) and result.code in wanted,
                f"{lab.profile}: one byte less of RLIMIT_MEMLOCK gives {result!r}",
            )
            lab.demand_unchanged(before, "RLIMIT_MEMLOCK refused the map")


def usage(cls: type[MapType]) -> None:
    """``mem_usage`` is a number of bytes at all times, and the fdinfo of the map can be read."""
    for lab in labs(cls):
        fd = lab.create()
        for _ in range(2):
            bytes_used = attempt(lab.map_of(fd).mem_usage)
            demand(
                isinstance(bytes_used, int) and bytes_used >= 0,
                f"{lab.profile}: mem_usage() gives {bytes_used!r}",
            )
            attempt(lab.bpf.fdinfo, fd)
            stored(lab, fd)


def persistence(cls: type[MapType]) -> None:
    """A map comes back from the state file as it was: private state, elements, charges."""
    for lab in labs(cls):
        fd = lab.create()
        taken = [key for key, _ in stored(lab, fd)]
        try:
            json.dumps(lab.map_of(fd).rec.priv)
        except (TypeError, ValueError) as exc:
            demand(False, f"rec.priv cannot be kept as JSON: {exc}")
        seen, held = _view(lab, fd), _held(lab, fd, taken)
        lab.commit_and_reopen()
        demand(
            _held(lab, fd, taken) == held,
            f"{lab.profile}: elements are gone after a round trip: kept in the object only",
        )
        demand(_view(lab, fd) == seen, f"{lab.profile}: the map differs after a round trip")
        stored(lab, fd)
        lab.demand_sound("after a round trip")
        lab.bpf.close(fd)
        lab.demand_sound("after a round trip and close")


def _held(lab: Lab, fd: int, keys: list[bytes | None]) -> list[str]:
    """Look up what was stored, whatever a walk shows."""
    return [repr(attempt(lab.bpf.map_lookup_elem, fd, key)) for key in keys]


def _view(lab: Lab, fd: int) -> dict[str, Any]:
    keys = list(_keys(lab, fd))
    return {
        "info": lab.bpf.map_info(fd),
        "keys": keys,
        "values": [repr(attempt(lab.bpf.map_lookup_elem, fd, key)) for key in keys],
        "usage": lab.map_of(fd).mem_usage(),
        "counters": lab.counters(),
    }


def fill(cls: type[MapType]) -> None:
    """``fill(n)`` charges what n inserts charge."""
    for lab in labs(cls):
        taken = len(stored(lab, lab.create())) if cls.example.writable else 0
        if not taken or cls.example.elements is not None:
            continue
        real = lab.kernel.memcg.stat(lab.kernel.memcg.lookup(BOX))
        with Lab.boot(cls, lab.profile) as other:
            fd = other.create()
            other.map_of(fd).fill(taken)
            filled = other.kernel.memcg.stat(other.kernel.memcg.lookup(BOX))
            demand(
                filled == real,
                f"{lab.profile}: fill({taken}) charges {filled}, {taken} inserts {real}",
            )
            other.bpf.close(fd)
            other.demand_sound("after fill() and close")


RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (
        contract,
        creation,
        errno,
        elements,
        flags,
        deletion,
        reuse,
        failslab,
        failslab_update,
        memory_max,
        memlock,
        usage,
        persistence,
        fill,
        commands,
    )
}
