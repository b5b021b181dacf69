"""A kernel in memory on which the steps of a line are done, as the recorder did them.

``STEPS`` has a function for each kind of step; more kinds live in other ``steps_*`` modules of this
directory, which are imported when a line needs them.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from bpfctl.errors import KernelError, errno_name
from bpfctl.kernel.bpf.helpers.time import TAI_OFFSET_NS
from bpfctl.kernel.bpf.vm.vm import Vm
from bpfctl.kernel.kernel import Kernel
from bpfctl.uapi import (
    MAP_TYPE_NUMBER,
    PROG_TYPE_NUMBER,
    Cmd,
    ElemAttr,
    FdAttr,
    MapCreateAttr,
    ProgLoadAttr,
)
from bpfctl.uapi_attach import ATTACH_TYPE_NUMBER
from run import adapt, btf
from run.corpus import Line
from run.values import value_bytes

CPUS = 2
LD_IMM64 = 0x18
MODULES = {
    "run": "run.steps_run",
    **dict.fromkeys(
        ("update", "delete", "value", "lookdel", "freeze", "dump", "nonzero", "keys"),
        "run.steps_map",
    ),
    **dict.fromkeys(("cpu", "sleep", "spin", "comm", "stats", "runcnt"), "run.steps_task"),
    **dict.fromkeys(
        ("ring", "ringstate", "trace", "perf", "perf_open", "perf_counter"), "run.steps_output"
    ),
    **dict.fromkeys(
        (
            "attach", "detach", "query", "link", "link_update", "link_detach",
            "link_close", "link_info", "fdinfo",
        ),
        "run.steps_attach",
    ),
    **dict.fromkeys(("xdp_set", "xdp_show", "inject"), "run.steps_net"),
}
"""Where kinds of steps are: each module has ``STEPS``, a function ``(lab, step)`` by kind."""

Step = Callable[["Lab", dict[str, Any]], dict[str, Any]]


class NoObject(Exception):
    """A step names something that an earlier one failed to make."""


class Lab:
    """One line: its kernel, task, maps and programs."""

    special: dict[str, Callable[[Lab], bytes]] = {}
    """More words that values may consist of, by name."""
    names: dict[str, Callable[[Lab, str], int]] = {}
    """More kinds of names in values (``sock:a``), by kind."""

    def __init__(self, line: Line, engine: str = "") -> None:
        self.line = line
        self.spec = adapt.spec_for(line)
        self.kernel: Kernel = Kernel.in_memory(line.kernel, possible_cpus=CPUS)
        if engine:
            self.kernel.part(Vm).use_engine(engine)
        self.pid: int = self.kernel.start_command(memlock=None, comm="python3")
        self.maps: dict[int, int] = {}
        self.progs: dict[int, int] = {}
        self.map_err: dict[str, str] = {}
        self.load_err: dict[str, str] = {}
        self.init_err: list[Any] = []
        self.things: dict[str, Any] = {}
        self.ubuf_addr = 0
        if self.spec.get("env", {}).get("veth"):
            import_module("run.steps_net").make_veths(self)

    # --- the whole line ------------------------------------------------------

    def run(self) -> dict[str, Any]:
        """Do everything and return the result as the corpus writes it."""
        if "ubuf" in self.spec:
            content = bytes.fromhex(self.spec["ubuf"])
            region = self.kernel.part(Vm).arena.alloc(len(content), "user")
            self.kernel.part(Vm).arena.write(region.start, content)
            self.ubuf_addr = region.start
        self._create_maps()
        self._load_progs()
        result: dict[str, Any] = {}
        if self.map_err:
            result["map_err"] = self.map_err
        if self.load_err:
            return {**result, "load_err": self.load_err}
        self._init_maps(self._late)
        if self.init_err:
            result["init_err"] = self.init_err
        result["steps"] = [self.step(step) for step in self.spec["steps"]]
        return result

    def step(self, step: dict[str, Any]) -> dict[str, Any]:
        """Do one step and return its answer."""
        module = MODULES.get(step["op"])
        if module is None:
            return {"unsupported": step["op"]}
        try:
            steps: dict[str, Step] = import_module(module).STEPS
        except ModuleNotFoundError:
            return {"unsupported": step["op"]}
        if step["op"] not in steps:
            return {"unsupported": step["op"]}
        try:
            return steps[step["op"]](self, step)
        except KernelError as exc:
            return {"err": errno_name(exc.code)}
        except NoObject:
            return {"err": "no object"}

    def bpf(self, cmd: Cmd, attr: Any) -> Any:
        """Do a bpf(2) command."""
        return self.kernel.bpf(self.pid, cmd, attr)

    # --- names -----------------------------------------------------------------

    def map_fd(self, number: int) -> int:
        if number not in self.maps:
            raise NoObject(f"map {number}")
        return self.maps[number]

    def prog_fd(self, number: int) -> int:
        if number not in self.progs:
            raise NoObject(f"prog {number}")
        return self.progs[number]

    def prog_id(self, number: int) -> int:
        """Return the id of a program."""
        return int(self.kernel.files.get(self.pid, self.prog_fd(number)).obj_id)

    def map_spec(self, number: int) -> dict[str, Any]:
        found: dict[str, Any] = self.spec["maps"][number]
        return found

    def named(self, kind: str, name: str) -> int:
        """Return the number that ``kind:name`` stands for in a value."""
        if kind == "prog":
            return self.prog_fd(int(name))
        if kind == "map":
            return self.map_fd(int(name))
        if kind in ("u32", "u64"):
            return int(name, 0)
        if kind in ("fd", "obj"):
            if name not in self.things:
                raise NoObject(name)
            return int(self.things[name])
        if kind == "if":
            return int(import_module("run.steps_net").ifindex(self, name))
        found = self.names.get(kind)
        if found is None:
            raise NoObject(f"{kind}:{name}")
        return found(self, name)

    # --- maps ----------------------------------------------------------------------

    def _create_maps(self) -> None:
        maps = self.spec.get("maps", [])
        for number in self.spec.get("order", range(len(maps))):
            try:
                self.maps[number] = self._create(maps[number])
            except (KernelError, NoObject) as exc:
                code = exc.code if isinstance(exc, KernelError) else 9
                self.map_err[str(number)] = errno_name(code)

    def _create(self, spec: dict[str, Any]) -> int:
        attr = MapCreateAttr(
            map_type=MAP_TYPE_NUMBER[spec["type"]],
            key_size=spec.get("key", 4),
            value_size=spec.get("value", 4),
            max_entries=spec.get("max", 1),
            map_flags=spec.get("flags", 0),
            map_extra=spec.get("extra", 0),
            map_name=spec.get("name", "").encode(),
        )
        if "inner" in spec:
            attr.inner_map_fd = self.map_fd(spec["inner"])
        if "btf" in spec:
            layout = btf.layout(self, spec["btf"])
            attr.btf_fd, attr.btf_key_type_id, attr.btf_value_type_id = layout
        return int(self.bpf(Cmd.MAP_CREATE, attr))

    @staticmethod
    def _early(spec: dict[str, Any]) -> bool:
        return bool(spec.get("rodata"))

    @staticmethod
    def _late(spec: dict[str, Any]) -> bool:
        return not spec.get("rodata")

    def _init_maps(self, which: Callable[[dict[str, Any]], bool]) -> None:
        for number, spec in enumerate(self.spec.get("maps", [])):
            if number not in self.maps or not which(spec):
                continue
            for at, (key, value) in enumerate(spec.get("init", [])):
                try:
                    attr = ElemAttr(
                        self.maps[number], value_bytes(self, key), value_bytes(self, value)
                    )
                    self.bpf(Cmd.MAP_UPDATE_ELEM, attr)
                except KernelError as exc:
                    self.init_err.append([number, at, errno_name(exc.code)])
                except NoObject:
                    self.init_err.append([number, at, "no object"])
            if spec.get("rodata"):
                self.bpf(Cmd.MAP_FREEZE, FdAttr(self.maps[number]))

    # --- programs --------------------------------------------------------------------

    def _load_progs(self) -> None:
        self._init_maps(self._early)
        for number, spec in enumerate(self.spec.get("progs", [])):
            try:
                self.progs[number] = int(self.bpf(Cmd.PROG_LOAD, self._load_attr(spec)))
            except KernelError as exc:
                self.load_err[str(number)] = errno_name(exc.code)

    def _load_attr(self, spec: dict[str, Any]) -> ProgLoadAttr:
        attr = ProgLoadAttr(
            prog_type=PROG_TYPE_NUMBER[spec["type"]],
            insns=self._with_fds(bytes.fromhex(spec["insns"])),
            license=spec.get("licence", "GPL").encode(),
            prog_flags=spec.get("flags", 0),
            prog_name=spec.get("name", "").encode(),
            expected_attach_type=attach_type(spec.get("attach", 0)),
        )
        if "btf_func" in spec:
            attr.attach_btf_id = btf.kernel_function(self, spec["btf_func"])
        if "funcs" in spec:
            btf.add_functions(self, attr, spec["funcs"])
        return attr

    def _with_fds(self, insns: bytes) -> bytes:
        """Put descriptors where the spec has numbers of maps."""
        code = bytearray(insns)
        at = 0
        while at < len(code):
            if code[at] == LD_IMM64 and code[at + 1] >> 4 in (1, 2):
                number = int.from_bytes(code[at + 4 : at + 8], "little")
                fd = self.maps.get(number, 0xFFFFFFFF)
                code[at + 4 : at + 8] = fd.to_bytes(4, "little")
            at += 16 if code[at] == LD_IMM64 else 8
        return bytes(code)


def attach_type(word: int | str) -> int:
    """Return the number of an attach type given by number or name."""
    return word if isinstance(word, int) else ATTACH_TYPE_NUMBER[word]


def _u64(number: int) -> bytes:
    return number.to_bytes(8, "little")


Lab.special.update(
    mono=lambda lab: _u64(lab.kernel.clock.ns),
    boot=lambda lab: _u64(lab.kernel.clock.ns),
    tai=lambda lab: _u64(lab.kernel.clock.wall() + TAI_OFFSET_NS),
    pidtgid=lambda lab: _u64(lab.pid << 32 | lab.pid),
    pid64=lambda lab: _u64(lab.pid),
    mycg=lambda lab: _u64(lab.kernel.task(lab.pid).cgroup),
)
