"""What a program attaches to, as far as loading asks (check_attach_btf_id)."""

from __future__ import annotations

from bpfctl.errors import E
from bpfctl.kernel.bpf.prog_attr import can_sleep
from bpfctl.kernel.bpf.progtypes.release import owner_of_attach_type, prog_rules
from bpfctl.kernel.bpf.verifier.env import Env


def check_attach(env: Env) -> None:
    """Test whether the program may sleep, and names its target if its type has one.

    :raises Refused: EINVAL, ENOTSUPP.
    """
    prog_type = env.type
    if prog_type.sleepable == "always":
        if not env.sleepable:
            env.fail(E.INVAL, "Syscall programs can only be sleepable")
        return
    if env.sleepable and not can_sleep(prog_type.number, env.attach_type, env.traits):
        env.fail(E.INVAL, prog_rules(env.kernel.profile.name).not_sleepable)
    if not prog_type.attach_btf or env.attr.attach_btf_id:
        return
    if owner_of_attach_type(env.kernel.profile.name, env.attach_type) == prog_type.name:
        return
    if prog_type.name == "struct_ops":
        words = "struct_ops_words" in env.traits
        env.fail(E.NOTSUPP, "attach_btf_id 0 is not a supported struct" if words else "")
    env.fail(E.INVAL, "Tracing programs must provide btf_id")
