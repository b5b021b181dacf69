"""Memory of a program: what BPF_PROG_LOAD allocates, in its order (kernel/bpf/core.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.errors import E, KernelError
from bpfctl.isa.insn import INSN_BYTES
from bpfctl.kernel.mm.alloc import Mem
from bpfctl.kernel.mm.gfp import GFP_ACCOUNT, GFP_DIRECT_RECLAIM, GFP_KERNEL, GFP_NORETRY
from bpfctl.kernel.records import ProgRecord, Task

if TYPE_CHECKING:
    from bpfctl.kernel.bpf.map import MapHost


POINTER_BYTES = 8
LINE_INFO_BYTES = 16
FUNC_INFO_BYTES = 8


class ProgMemory:
    """The allocators as a program's loader calls them, and its account of RLIMIT_MEMLOCK.

    Every method raises ENOMEM, or lets the OOM killer act.
    """

    def __init__(self, kernel: MapHost, rec: ProgRecord) -> None:
        self.kernel = kernel
        self.rec = rec
        self.mem = Mem(kernel.mm, "prog", rec.id, rec.objcg)

    def gfp(self, site: str = "prog") -> int:
        """Return GFP_KERNEL, accounted if allocations of ``site`` are."""
        accounted = self.kernel.profile.accounts(site)
        if self.kernel.config.cgroup_memory == "nobpf":
            accounted = False
        return GFP_KERNEL | (GFP_ACCOUNT if accounted else 0)

    def sizeof(self, struct: str) -> int:
        """Bytes of a kernel struct."""
        return self.kernel.profile.sizeof(struct)

    def _size(self, nr_insns: int) -> int:
        return self.sizeof("bpf_prog") + nr_insns * INSN_BYTES

    def pages(self, nr_insns: int) -> int:
        """Pages of struct bpf_prog and ``nr_insns`` instructions."""
        return -(-self._size(nr_insns) // self.kernel.config.page_size)

    # --- the program -------------------------------------------------------

    def _alloc_function(self, label: str, nr_insns: int) -> None:
        """Allocate what every function has of its own (bpf_prog_alloc_no_stats)."""
        self.mem.vmalloc(label, self._size(nr_insns), self.gfp())
        self.mem.kmalloc("aux", self.sizeof("bpf_prog_aux"), self.gfp())
        active = self.sizeof("bpf_prog_active")  # none before 5.12
        if active:
            self.mem.alloc_percpu("active", active, self.gfp())

    def alloc(self, nr_insns: int) -> None:
        """Allocate a program of ``nr_insns`` slots (bpf_prog_alloc)."""
        self._alloc_function("insns", nr_insns)
        self.mem.alloc_percpu("stats", self.sizeof("bpf_prog_stats"), self.gfp())
        self.rec.pages = self.pages(nr_insns)

    def charge(self, task: Task) -> None:
        """Hold the pages against RLIMIT_MEMLOCK, where the profile says so.

        :raises KernelError: EPERM.
        """
        if self.kernel.profile.precharges("prog"):
            self.kernel.memlock.charge(task, task.uid, self.rec.pages)
            self.rec.memlock_pages = self.rec.pages

    def grow(self, task: Task, nr_insns: int) -> None:
        """Make room for ``nr_insns`` slots after a rewrite (bpf_prog_realloc).

        Only whole new pages are charged. A refused charge is a failed allocation.

        :raises KernelError: ENOMEM.
        """
        delta = self.pages(nr_insns) - self.rec.pages
        if delta <= 0:
            return
        if self.kernel.profile.precharges("prog"):
            try:
                self.kernel.memlock.charge(task, self.rec.uid, delta)
            except KernelError as exc:
                raise KernelError(E.NOMEM, exc.detail, exc.hint) from exc
            self.rec.memlock_pages += delta
        self.mem.vmalloc("grown insns", self._size(nr_insns), self.gfp())
        self.mem.free("insns")
        self.rec.pages += delta

    # --- what comes with it ----------------------------------------------

    def _kvmalloc(self, label: str, size: int, gfp: int) -> None:
        """Allocate ``size`` bytes: above a page kmalloc only tries, then vmalloc serves."""
        if size <= self.kernel.config.page_size:
            self.mem.kmalloc(label, size, gfp)
            return
        waits = self.kernel.profile.accounting.kvmalloc_waits
        try:
            quick = gfp | GFP_NORETRY if waits else gfp & ~GFP_DIRECT_RECLAIM
            self.mem.kmalloc(label, size, quick)
        except KernelError:
            self.mem.vmalloc(label, size, gfp)

    def alloc_info(self, nr_func_info: int, nr_line_info: int) -> None:
        """Allocate BTF's tables of functions and lines (check_btf_info)."""
        gfp = self.gfp("prog_info")
        if nr_func_info:
            self._kvmalloc("func_info", nr_func_info * FUNC_INFO_BYTES, gfp)
            self.mem.kmalloc("func_info_aux", nr_func_info * self.sizeof("bpf_func_info_aux"), gfp)
        if nr_line_info:
            self._kvmalloc("line_info", nr_line_info * LINE_INFO_BYTES, gfp)

    def alloc_used_maps(self, nr_maps: int) -> None:
        """Allocate the list of used maps."""
        if nr_maps:
            self.mem.kmalloc("used_maps", nr_maps * POINTER_BYTES, self.gfp("used_maps"))

    def replace_used_maps(self, nr_maps: int) -> None:
        """Make the list of used maps longer; the new one is charged to nobody."""
        self.mem.free("used_maps")
        self.mem.kmalloc("used_maps", nr_maps * POINTER_BYTES, GFP_KERNEL)

    def alloc_jit(self, function_lengths: list[int], nr_line_info: int) -> None:
        """Allocate the copies of functions that the JIT works on, and its line addresses.

        A program without subprograms is translated in place. The machine code itself is not
        charged to anybody.
        """
        if nr_line_info:
            self._kvmalloc("jited_linfo", nr_line_info * POINTER_BYTES, self.gfp())
        if len(function_lengths) > 1:
            for number, length in enumerate(function_lengths):
                self._alloc_function(f"func {number}", length)

    def borrow_for_verifier(self, nr_insns: int) -> None:
        """Charge and give back what the verifier works with, where that is accounted.

        A lower bound: its environment and a record for each insn, no states.
        """
        if not self.kernel.profile.accounts("verifier"):
            return
        gfp = self.gfp("verifier")
        self._kvmalloc("verifier_env", self.sizeof("bpf_verifier_env"), gfp)
        size = nr_insns * self.sizeof("bpf_insn_aux_data")
        self.mem.vmalloc("insn_aux_data", size, gfp)
        work = self.kernel.profile.progs.verifier_work
        for number, nbytes in enumerate(work):
            self._kvmalloc(f"verifier_work{number}", nr_insns * nbytes, gfp)
        for number in range(len(work)):
            self.mem.free(f"verifier_work{number}")
        self.mem.free("insn_aux_data")
        self.mem.free("verifier_env")

    def release(self) -> None:
        """Free everything and give the pages back to the user."""
        self.mem.free_all()
        if self.rec.memlock_pages:
            self.kernel.memlock.uncharge(self.rec.uid, self.rec.memlock_pages)
            self.rec.memlock_pages = 0
