"""A program as a WebAssembly module: imports, functions, and loops that run it many times."""

from __future__ import annotations

from collections.abc import Callable

from bpfctl.kernel.bpf.vm.cfg import Flow
from bpfctl.kernel.bpf.vm.facts import Facts
from bpfctl.kernel.bpf.vm.program import VmProgram
from bpfctl.kernel.bpf.vm.py.mapcalls import MapShape
from bpfctl.kernel.bpf.vm.wasm.encode import (
    I64,
    LOADS,
    STORES,
    Code,
    function_type,
    name,
    section,
    unsigned,
    vector,
)
from bpfctl.kernel.bpf.vm.wasm.translate import LOCAL, NR_ARGS, NR_LOCALS, Places, Translator

MAGIC = b"\0asm\1\0\0\0"
PAGE = 65536


class Module:
    """Writes a module. ``imports`` are what it calls outside: kind, number, count of arguments."""

    def __init__(
        self,
        program: VmProgram,
        pages: int,
        places: Places,
        constants: Callable[[int], int],
        tables: dict[int, tuple[MapShape, int]],
    ) -> None:
        self._program = program
        self._pages = pages
        self._places = places
        self._constants = constants
        self._tables = tables
        self.imports: dict[tuple[str, int], tuple[int, int]] = {}
        self._fixups: list[int] = []
        self._types: list[int] = []

    def _imported(self, kind: str, number: int, nr_args: int) -> int:
        found = self.imports.get((kind, number))
        if found is None:
            found = self.imports[kind, number] = (len(self.imports), nr_args)
        return found[0]

    def encode(self) -> bytes:
        """Return the bytes of the module.

        :raises ValueError: control leaves a function.
        """
        # Imports are numbered before functions, so all are found in a first pass.
        self._bodies(0)
        bodies = self._bodies(len(self.imports))
        starts = self._program.starts
        types = [nr_args for _, nr_args in self.imports.values()]
        kinds = sorted({NR_ARGS, 3, 4, *types})
        numbers = {nr_args: at for at, nr_args in enumerate(kinds)}
        imports = [
            name("env") + name(f"{kind}{number}") + b"\0" + unsigned(numbers[nr_args])
            for (kind, number), (_, nr_args) in self.imports.items()
        ]
        limits = b"\1" + unsigned(self._pages) + unsigned(self._pages)
        imports.append(name("env") + name("memory") + b"\2" + limits)
        first = len(self.imports)
        own = [NR_ARGS] * len(starts) + [3, 4]
        exports = [
            name(f"f{start}") + b"\0" + unsigned(first + at) for at, start in enumerate(starts)
        ]
        exports.append(name("repeat") + b"\0" + unsigned(first + len(starts)))
        exports.append(name("batch") + b"\0" + unsigned(first + len(starts) + 1))
        return b"".join(
            (
                MAGIC,
                section(1, vector([function_type(nr_args) for nr_args in kinds])),
                section(2, vector(imports)),
                section(3, vector([unsigned(numbers[nr_args]) for nr_args in own])),
                section(7, vector(exports)),
                section(10, vector(bodies)),
            )
        )

    @staticmethod
    def _body(translator: Translator, main: bool) -> bytes:
        try:
            return translator.body(main)
        except RecursionError:
            translator.code, translator.structured = Code(), False
            return translator.body(main)

    def _bodies(self, first: int) -> list[bytes]:
        program = self._program
        index = {start: first + at for at, start in enumerate(program.starts)}
        bodies = []
        for start, end in program.functions:
            flow = Flow(program, start, end)
            translator = Translator(
                flow,
                Facts(flow, start == 0),
                program.trusted,
                self._places,
                self._constants,
                self._tables,
                index.__getitem__,
                self._imported,
            )
            bodies.append(_sized(self._body(translator, start == 0), NR_LOCALS))
        main = index[0]
        return [*bodies, _sized(_repeat(main), 1), _sized(_batch(main), 1)]


def _sized(code: bytes, nr_locals: int) -> bytes:
    body = vector([unsigned(nr_locals) + bytes((I64,))]) + code
    return unsigned(len(body)) + body


def _run(code: Code, main: int, ctx: Callable[[], object], fp: int) -> None:
    ctx()
    for _ in range(len(LOCAL) - 7):
        code.const(0)
    code.with_index("local.get", fp).with_index("call", main)


def _repeat(main: int) -> bytes:
    """``repeat(count, ctx, fp)``: run on one context so many times, return the last r0."""
    code = Code().begin("loop")
    _run(code, main, lambda: code.with_index("local.get", 1), 2)
    code.with_index("local.set", 3)
    code.with_index("local.get", 0).const(1).op("i64.sub").with_index("local.tee", 0)
    code.op("i64.eqz", "i32.eqz").with_index("br_if", 0).op("end")
    code.with_index("local.get", 3).op("end")
    return bytes(code.out)


def _batch(main: int) -> bytes:
    """``batch(count, contexts, fp, results)``: run on each of an array of contexts."""
    code = Code().begin("loop")
    code.with_index("local.get", 3).op("i32.wrap_i64")

    def ctx() -> None:
        code.with_index("local.get", 1).op("i32.wrap_i64").memory(LOADS[8])

    _run(code, main, ctx, 2)
    code.memory(STORES[8])
    for local in (1, 3):
        code.with_index("local.get", local).const(8).op("i64.add").with_index("local.set", local)
    code.with_index("local.get", 0).const(1).op("i64.sub").with_index("local.tee", 0)
    code.op("i64.eqz", "i32.eqz").with_index("br_if", 0).op("end")
    code.const(0).op("end")
    return bytes(code.out)
