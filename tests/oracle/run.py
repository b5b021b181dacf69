"""Do what a case describes in the simulated kernel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from oracle import ops_bpftool, ops_limits, ops_maps, ops_progs
from oracle.cases import Case
from oracle.lab import Lab, measured_config

Operation = Callable[[Lab, dict[str, Any]], dict[str, Any]]

OPERATIONS: dict[str, Operation] = {
    "create": ops_maps.create,
    "update": ops_maps.update,
    "fd": ops_maps.second_fd,
    "who": ops_maps.who,
    "prog": ops_progs.prog,
    "rlone": ops_limits.rlone,
    "rlmin": ops_limits.rlmin,
    "rlcum": ops_limits.rlcum,
    "mm": ops_limits.mm,
    "bpftool": ops_bpftool.bpftool,
}


class Runner:
    """Runs cases; kernels are booted once for each release and CPU count."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._labs: dict[tuple[str, int], Lab] = {}

    def lab(self, kernel: str, cpus: int) -> Lab:
        """Return the machine for a release, booted at first use."""
        key = (kernel, cpus)
        if key not in self._labs:
            self._labs[key] = Lab.boot(measured_config(self.directory, kernel, cpus))
        return self._labs[key]

    def run(self, case: Case) -> dict[str, Any]:
        """Return the result of ``case`` in the form of the measured ones.

        Whatever the simulator cannot do (an unknown operation or map type, a crash) gives a
        result that agrees with nothing.
        """
        try:
            operation = OPERATIONS[case.op]
            lab = self.lab(case.kernel, case.cpus)
            result = operation(lab, case.spec)
            lab.tidy()
            return result
        except Exception as exc:
            # A kernel that failed half-way may hold leftovers; later cases get a new one.
            self._labs.pop((case.kernel, case.cpus), None)
            return {"exception": f"{type(exc).__name__}: {exc}"}
