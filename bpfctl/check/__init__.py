"""Will it load there, and if not, why? Programs of object files against kernels, before a rollout.

There is no other verifier here than the simulated kernel's: every object is loaded through libbpf's
loader into kernels that are booted in memory. ::

    from bpfctl.check import Machine, check

    for report in check(["foo.bpf.o"], [Machine("5.10"), Machine("6.12")]):
        for program in report.programs:
            print(program.kernel, program.name, program.ok, program.reason)
"""

from bpfctl.check.run import Machine, ObjectReport, ProgramReport, Wish, check, check_object

__all__ = ["Machine", "ObjectReport", "ProgramReport", "Wish", "check", "check_object"]
