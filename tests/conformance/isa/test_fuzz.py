"""Random programs do the same on all engines. ``--fuzz N`` runs so many of them."""

from __future__ import annotations

import random

from bpfctl.kernel.bpf.vm.program import VmProgram
from bpfctl.kernel.bpf.vm.runtime import PlainContext
from bpfctl.kernel.kernel import Kernel
from conformance.isa.engines import ENGINES
from conformance.isa.generate import Generator, context


class Runner:
    """One engine; ``trusted``: with the accesses left unchecked, as for a verified program."""

    def __init__(self, engine: str, trusted: bool) -> None:
        self.name = f"{engine}{' trusted' if trusted else ''}"
        self._kernel = Kernel.in_memory()
        self._vm = self._kernel.vm
        self._vm.use_engine(engine)
        self._trusted = trusted
        self._memory = self._vm.arena.alloc(4096, "mem")

    def run(self, code: bytes, contexts: list[bytes]) -> list[tuple[int, bytes]]:
        vm, start = self._vm, self._memory.start
        unit = vm.compiled(VmProgram(code, trusted=self._trusted))
        found = []
        for given in contexts:
            vm.arena.poke(start, given)
            rt = vm.begin(PlainContext(start))
            try:
                found.append((unit.run(rt), vm.arena.read(start, len(given))))
            finally:
                vm.end(rt)
        return found


def test_engines_agree(request):
    count = int(request.config.getoption("--fuzz"))
    runners = [Runner("interp", False)]
    runners += [Runner(name, trusted) for name in ENGINES[1:] for trusted in (False, True)]
    for seed in range(count):
        code = Generator(seed).program()
        rng = random.Random(seed)
        contexts = [context(rng) for _ in range(3)]
        want = runners[0].run(code, contexts)
        for runner in runners[1:]:
            assert runner.run(code, contexts) == want, (seed, runner.name, code.hex())
