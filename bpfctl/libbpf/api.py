"""The libbpf layer for programs: open an object, change it, load it, find what it holds, pin it.

In libbpf's terms, small and typed. ::

    from bpfctl.kernel.kernel import Kernel
    from bpfctl.libbpf.api import Object, raise_memlock
    from bpfctl.libbpf.bpf import Bpf

    kernel = Kernel.in_memory("6.12", possible_cpus=8)
    bpf = Bpf(kernel, kernel.spawn("loader").pid)
    raise_memlock(bpf)
    with Object.open("flows.bpf.o", bpf) as obj:
        obj.map("flows").max_entries = 100_000
        obj.program("debug").autoload = False
        obj.load()
        obj.program("count").pin("/sys/fs/bpf/count")

Between ``open`` and ``load`` definitions may be set, as ``bpf_map__set_*()`` and
``bpf_program__set_*()`` do; after that only read. Failures are ObjectError (the file), LoadError
(the load; ``messages`` has what libbpf says) and KernelError (anything else).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TypeVar

from bpfctl.errors import E, KernelError
from bpfctl.libbpf.bpf import Bpf
from bpfctl.libbpf.load import LoadedMap, LoadedProgram, Loader, set_type
from bpfctl.libbpf.object import open_object
from bpfctl.libbpf.options import LoadOptions

NamedT = TypeVar("NamedT", "Map", "Program")


def raise_memlock(bpf: Bpf) -> None:
    """Lift RLIMIT_MEMLOCK (libbpf_set_memlock_rlim): kernels before 5.11 charge maps against it.

    :raises KernelError: EPERM: the hard limit is in the way.
    """
    bpf.kernel.setrlimit_memlock(bpf.pid, None, None)


class Map:
    """A map of an object (struct bpf_map)."""

    def __init__(self, obj: Object, made: LoadedMap) -> None:
        self._object = obj
        self._made = made

    @property
    def name(self) -> str:
        """Name as declared, or that of the map that takes its place."""
        return self._made.name

    @property
    def fd(self) -> int:
        """Descriptor, -1 before the load."""
        return self._made.fd

    @property
    def max_entries(self) -> int:
        """Entries; set before the load."""
        return self._made.spec.max_entries

    @max_entries.setter
    def max_entries(self, number: int) -> None:
        self._object._before_load()
        self._made.spec.max_entries = number

    @property
    def autocreate(self) -> bool:
        """Whether the load creates it; set before the load."""
        return self._made.spec.autocreate

    @autocreate.setter
    def autocreate(self, wanted: bool) -> None:
        self._object._before_load()
        self._made.spec.autocreate = wanted

    @property
    def initial_value(self) -> bytes | None:
        """First contents of a map of global variables, None for other maps."""
        spec = self._made.spec
        return None if spec.data is None else spec.data.ljust(spec.value_size, b"\0")

    def set_initial_value(self, data: bytes) -> None:
        """Replace the first contents (bpf_map__set_initial_value).

        :raises KernelError: EINVAL: another size, or no map of global variables; EBUSY.
        """
        self._object._before_load()
        if self._made.spec.data is None or len(data) != self._made.spec.value_size:
            raise KernelError(E.INVAL, f"initial value of {len(data)} bytes")
        self._made.spec.data = data

    def set_pin_path(self, path: str) -> None:
        """Pin it at load, or take what is pinned there (bpf_map__set_pin_path)."""
        self._object._before_load()
        self._made.pin_path = path

    def lookup(self, key: bytes) -> bytes:
        """Return a value."""
        return self._object.bpf.map_lookup_elem(self._made.fd, key)

    def update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        """Store a value."""
        self._object.bpf.map_update_elem(self._made.fd, key, value, flags)

    def delete(self, key: bytes) -> None:
        """Remove a key."""
        self._object.bpf.map_delete_elem(self._made.fd, key)

    def pin(self, path: str) -> None:
        """Pin it (bpf_map__pin)."""
        self._object.bpf.obj_pin(self._made.fd, path)


class Program:
    """A program of an object (struct bpf_program)."""

    def __init__(self, obj: Object, loaded: LoadedProgram) -> None:
        self._object = obj
        self._loaded = loaded

    @property
    def name(self) -> str:
        """Name of its function."""
        return self._loaded.name

    @property
    def section(self) -> str:
        """ELF section, without the question mark of those that do not load by default."""
        return self._loaded.spec.section.removeprefix("?")

    @property
    def type(self) -> str:
        """Program type, as bpftool spells it."""
        return self._loaded.spec.type_name

    @property
    def fd(self) -> int:
        """Descriptor, -1 if it is not loaded."""
        return self._loaded.fd

    @property
    def autoload(self) -> bool:
        """Whether the load loads it; set before the load."""
        return self._loaded.spec.autoload

    @autoload.setter
    def autoload(self, wanted: bool) -> None:
        self._object._before_load()
        self._loaded.spec.autoload = wanted

    def set_type(self, prog_type: int, attach_type: int | None = None) -> None:
        """Make it be of another type than its section says."""
        self._object._before_load()
        set_type(self._loaded.spec, prog_type, attach_type)

    def set_attach_target(self, name: str) -> None:
        """Name the kernel function that it attaches to."""
        self._object._before_load()
        self._loaded.spec.attach_to = name

    def pin(self, path: str) -> None:
        """Pin it (bpf_program__pin)."""
        self._object.bpf.obj_pin(self._loaded.fd, path)


class Object:
    """An object file on its way into a kernel (struct bpf_object). Closes itself as a context."""

    def __init__(self, loader: Loader, messages: list[str]) -> None:
        self._loader = loader
        self.loaded = False
        self.bpf = loader.bpf
        self.messages = messages
        self.maps = [Map(self, made) for made in loader.maps]
        self.programs = [Program(self, loaded) for loaded in loader.programs]

    @classmethod
    def open(
        cls,
        path: str,
        bpf: Bpf,
        options: LoadOptions | None = None,
        release: str = "",
        warn: Callable[[str], None] | None = None,
    ) -> Object:
        """Read an object file (bpf_object__open_file). Nothing is asked of the kernel yet.

        ``release`` is what LINUX_KERNEL_VERSION is made of; ``warn`` is told what libbpf prints,
        which ``messages`` keeps, too.

        :raises ObjectError: the file is no sound object.
        """
        messages: list[str] = []

        def note(text: str) -> None:
            messages.append(text)
            if warn is not None:
                warn(text)

        return cls(Loader(bpf, open_object(path), note, release, options), messages)

    def _before_load(self) -> None:
        if self.loaded:
            raise KernelError(E.BUSY, "the object is loaded")

    def load(self) -> None:
        """Create maps and load programs, or nothing (bpf_object__load).

        :raises LoadError: the kernel, or libbpf, refused something.
        """
        self._before_load()
        self._loader.load()
        self.loaded = True

    def map(self, name: str) -> Map:
        """Return the map called ``name`` (bpf_object__find_map_by_name).

        :raises KernelError: ENOENT.
        """
        return _named(iter(self.maps), name)

    def program(self, name: str) -> Program:
        """Return the program of function ``name`` (bpf_object__find_program_by_name).

        :raises KernelError: ENOENT.
        """
        return _named(iter(self.programs), name)

    def close(self) -> None:
        """Close all descriptors; what is pinned or in use elsewhere stays (bpf_object__close)."""
        self._loader.close()

    def __enter__(self) -> Object:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _named(among: Iterator[NamedT], name: str) -> NamedT:
    for each in among:
        if each.name == name:
            return each
    raise KernelError(E.NOENT, name)
