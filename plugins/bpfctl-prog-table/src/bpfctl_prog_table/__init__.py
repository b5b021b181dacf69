"""Map type ``prog_table``: programs under keys of any size, as a prog_array has them by index."""

from __future__ import annotations

from bpfctl.api import (
    BPF_ANY,
    PROG,
    Bpf,
    E,
    Element,
    Example,
    KernelError,
    MapCreateAttr,
    MapType,
    ProgLoadAttr,
    Task,
    round_up,
)

MAX_KEY_SIZE = 64
STRUCT_SIZE = 320
# The list's links and the program's pointer.
NODE_HEAD = 24
# r0 = 0; exit
RETURN_0 = bytes.fromhex("b7000000000000009500000000000000")


def _programs(bpf: Bpf, nr: int) -> list[Element]:
    """Return keys of 8 bytes and descriptors of socket filters."""
    attr = ProgLoadAttr(prog_type=1, insns=RETURN_0)
    return [
        (number.to_bytes(8, "little"), bpf.prog_load(attr).to_bytes(4, "little"))
        for number in range(nr)
    ]


class ProgTable(MapType):
    """A descriptor of a program goes in, its id comes out; the table holds the program.

    Only programs of one kind are taken, as with a prog_array.
    """

    name = "prog_table"
    family = "prog_table"
    capability = "bpf"
    values = PROG
    tail_calls = True
    inner_allowed = False
    example = Example(key_size=8, value_size=4, max_entries=8, elements=_programs)

    def alloc_check(self, attr: MapCreateAttr, task: Task) -> None:
        if not 0 < attr.key_size <= MAX_KEY_SIZE or attr.value_size != 4 or not attr.max_entries:
            raise KernelError(E.INVAL, "sizes")
        if attr.map_flags:
            raise KernelError(E.INVAL, "map_flags")

    @property
    def _node(self) -> int:
        return NODE_HEAD + round_up(self.rec.key_size, 8)

    def memlock_cost(self, bypass_spec_v1: bool) -> int:
        return STRUCT_SIZE + self.rec.max_entries * self._node

    def alloc(self) -> None:
        self.struct_alloc("table", STRUCT_SIZE)

    def mem_usage(self) -> int:
        return STRUCT_SIZE + self.rec.nr_elems * self._node

    def lookup(self, key: bytes, value: bytes | None = None) -> bytes:
        cell = self.cells.get(key)
        if cell is None:
            raise KernelError(E.NOENT)
        return cell[0]

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        if flags != BPF_ANY:
            raise KernelError(E.INVAL)
        prog_id = self._program(int.from_bytes(value, "little"))
        stored = prog_id.to_bytes(4, "little")
        old = self.cells.get(key)
        if old is not None:
            self.kernel.progs.inc(prog_id)
            self.cells.put(key, stored, old[1], old[2])
            self.kernel.progs.put(int.from_bytes(old[0], "little"))
            return
        if self.rec.nr_elems >= self.rec.max_entries:
            raise KernelError(E.BIG)
        payer = self.map_mem().kmalloc("node", self._node, self.update_gfp())
        self.kernel.progs.inc(prog_id)
        self.cells.put(key, stored, self.next_seq(), payer)
        self.rec.nr_elems += 1

    def _program(self, fd: int) -> int:
        """Return the id of a program that fits.

        :raises KernelError: EBADF; EINVAL: no program, or one of another kind.
        """
        file = self.kernel.files.get(self.kernel.ctx.in_task.pid, fd)
        if file.obj_kind != "prog":
            raise KernelError(E.INVAL, f"fd {fd} is not a program")
        if not self.prog_compatible(self.kernel.progs.get(file.obj_id)):
            raise KernelError(E.INVAL, "another kind of program")
        return file.obj_id

    def delete(self, key: bytes) -> None:
        cell = self.cells.get(key)
        if cell is None:
            raise KernelError(E.NOENT)
        self.cells.delete(key)
        self.rec.nr_elems -= 1
        self.mem.free("node", 1, cell[2])
        self.kernel.progs.put(int.from_bytes(cell[0], "little"))

    def next_key(self, key: bytes | None) -> bytes:
        cell = None if key is None else self.cells.get(key)
        found = self.cells.after(None if cell is None else cell[1])
        if found is None:
            raise KernelError(E.NOENT)
        return found[0]

    def free(self) -> None:
        self._clear()

    def release_uref(self) -> None:
        # Programs may use the table that holds them; user space letting go breaks the circle.
        self._clear()

    def _clear(self) -> None:
        for key in [row[0] for row in self.cells.rows()]:
            self.delete(key)

    def fill(self, entries: int) -> None:
        count = min(entries, self.rec.max_entries - self.rec.nr_elems)
        if count > 0:
            self.map_mem().kmalloc("node", self._node, self.update_gfp(), count)
            self.rec.nr_elems += count
