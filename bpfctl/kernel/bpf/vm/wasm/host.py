"""wasmtime as the engine uses it; the only file that knows its package.

A call through the public interface takes about 20 us. The C interface underneath has calls that
take a fortieth of that, in modules that are private to the package: they are tried once, and
without them everything works through the public one.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from bpfctl.errors import EngineError

PAGE = 65536
SIZES = (1 << 30, 1 << 28, 1 << 26)
U64 = (1 << 64) - 1

Host = Callable[..., int]


def package() -> Any:
    """Return the package.

    :raises EngineError: it is not installed.
    """
    try:
        import wasmtime
    except ImportError as exc:
        raise EngineError(
            "the engine 'wasm' needs wasmtime", hint="pip install 'bpfctl[jit]'"
        ) from exc
    return wasmtime


class Machine:
    """A store with one memory, in which modules are instantiated."""

    def __init__(self) -> None:
        self._wasmtime = wasmtime = package()
        self._engine = wasmtime.Engine()
        self.store = wasmtime.Store(self._engine)
        self.memory, self.pages = self._make_memory()
        size = self.pages * PAGE
        where = ctypes.cast(self.memory.data_ptr(self.store), ctypes.c_void_p).value
        assert where is not None
        self.view = memoryview((ctypes.c_ubyte * size).from_address(where)).cast("B")
        self.raised: BaseException | None = None
        self.kept: list[Any] = []
        """Callbacks of ctypes, which live as long as the store."""

    def _make_memory(self) -> tuple[Any, int]:
        wasmtime = self._wasmtime
        for size in SIZES:
            pages = size // PAGE
            try:
                limits = wasmtime.Limits(pages, pages)
                memory = wasmtime.Memory(self.store, wasmtime.MemoryType(limits))
            except wasmtime.WasmtimeError:
                continue
            return memory, pages
        raise EngineError("the engine 'wasm' gets no memory", hint="choose another engine")

    def instantiate(
        self, code: bytes, imports: list[tuple[Host, int]]
    ) -> dict[str, Callable[..., int]]:
        """Compile a module and return its functions; ``imports`` say how many arguments each."""
        wasmtime = self._wasmtime
        i64 = wasmtime.ValType.i64()
        module = wasmtime.Module(self._engine, code)
        given = [
            self._imported(host, wasmtime.FuncType([i64] * nr_args, [i64]), nr_args)
            for host, nr_args in imports
        ]
        instance = wasmtime.Instance(self.store, module, [*given, self.memory])
        exports = instance.exports(self.store)
        return {kind.name: self._callable(exports[kind.name]) for kind in module.exports}

    def _imported(self, host: Host, kind: Any, nr_args: int) -> Any:
        """Return a Python function for modules to call."""
        fast = _unchecked_import(self, host, kind, nr_args)
        if fast is not None:
            return fast
        return self._wasmtime.Func(self.store, kind, self._guarded(host))

    def _guarded(self, host: Host) -> Host:
        """Return a function that notes what it raises: not everything passes through."""

        def call(*args: int) -> int:
            try:
                result = host(*[arg & U64 for arg in args])
            except BaseException as exc:
                self.raised = exc
                raise RuntimeError("a host function failed") from None
            return (result & U64 ^ 1 << 63) - (1 << 63)

        return call

    def _callable(self, func: Any) -> Callable[..., int]:
        fast = _unchecked(self._wasmtime, self.store, func)
        plain = fast if fast is not None else self._plain(func)

        def call(*args: int) -> int:
            try:
                return plain(*args)
            except Exception as exc:
                raised, self.raised = self.raised, None
                if raised is not None:
                    raise raised from None
                raise WasmTrap(str(exc)) from exc

        return call

    def _plain(self, func: Any) -> Callable[..., int]:
        store = self.store

        def call(*args: int) -> int:
            result = func(store, *[(arg ^ 1 << 63) - (1 << 63) for arg in args])
            return int(result) & U64

        return call


def _unchecked_import(machine: Machine, host: Host, kind: Any, nr_args: int) -> Any:
    """Return a Python function behind the C interface, None when the package has no such."""
    try:
        import wasmtime
        from wasmtime import _ffi as ffi

        callback_type = ffi.wasmtime_func_unchecked_callback_t
        new, raw = ffi.wasmtime_func_new_unchecked, ffi.wasmtime_func_t()
        trap_new, from_raw = ffi.wasmtime_trap_new, wasmtime.Func._from_raw
        good = ctypes.sizeof(ffi.wasmtime_val_raw_t) == 16
    except (ImportError, AttributeError):
        return None
    if not good:
        return None
    words, where = ctypes.POINTER(ctypes.c_uint64), range(0, 2 * nr_args, 2)

    def call(env: Any, caller: Any, values: Any, count: int) -> int:
        try:
            slots = ctypes.cast(values, words)
            slots[0] = host(*[slots[at] for at in where]) & U64
        except BaseException as exc:
            machine.raised = exc
            text = ctypes.create_string_buffer(b"a host function failed")
            trap = trap_new(ctypes.cast(text, ctypes.POINTER(ctypes.c_char)), len(text.value))
            return ctypes.cast(trap, ctypes.c_void_p).value or 0
        return 0

    callback = callback_type(call)
    no_finalizer = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(0)
    machine.kept += [callback, no_finalizer]
    new(machine.store._context(), kind.ptr(), callback, None, no_finalizer, ctypes.byref(raw))
    return from_raw(raw)


class WasmTrap(Exception):
    """The module trapped: an access beyond the memory, or too deep a recursion."""


def _unchecked(wasmtime: Any, store: Any, func: Any) -> Callable[..., int] | None:
    """Return a call through the C interface, None when the package does not have it so."""
    try:
        from wasmtime import _ffi as ffi

        nr_args = len(func.type(store).params)
        raw_call = ffi.wasmtime_func_call_unchecked
        context, where = store._context(), ctypes.byref(func._func)
        raw, trap_type = ffi.wasmtime_val_raw_t, ctypes.POINTER(ffi.wasm_trap_t)
    except (ImportError, AttributeError):
        return None
    slots = max(nr_args, 1)

    def call(*args: int) -> int:
        values = (ctypes.c_uint64 * (2 * slots))()
        for at, arg in enumerate(args):
            values[2 * at] = arg
        trap = trap_type()
        error = raw_call(
            context, where, ctypes.cast(values, ctypes.POINTER(raw)), slots, ctypes.byref(trap)
        )
        if error:
            raise wasmtime.WasmtimeError._from_ptr(error)
        if trap:
            raise wasmtime.Trap._from_ptr(trap)
        return int(values[0])

    return call if ctypes.sizeof(raw) == 16 else None
