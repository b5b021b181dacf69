"""A model of kernel/bpf/verifier.c: the same walk, the same verdicts, the same words.

Nothing here is imported by commands that load no program. The parts, and what they offer each
other (``env`` is an :class:`~bpfctl.kernel.bpf.verifier.env.Env`):

| module | what |
|---|---|
| ``state`` | Reg, Slot, Frame, State: immutable registers, copied lists |
| ``env`` | Env: program, maps, capabilities, log; ``fail`` refuses |
| ``tnum``, ``bounds``, ``alu``, ``ptr_alu``, ``jumps`` | values |
| ``stack``, ``memory``, ``packet`` | ``check_mem_access``, ``check_helper_mem_access`` |
| ``cfg``, ``subprogs``, ``insns`` | what is checked before and after the walk |
| ``walk`` | do_check: one instruction after the other, branches, exits |
| ``prune``, ``precision``, ``live`` | explored states, backtracking, liveness |
| ``calls`` | ``check_helper_call(env, insn, insn_idx)``, ``check_kfunc_call`` |
| ``ctx`` | ``check_ctx_access(env, insn_idx, off, size, access) -> Reg`` |
| ``rewrite`` | what becomes of an accepted program |
"""
