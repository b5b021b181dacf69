"""``bpftool feature probe``: what the simulated kernel can do."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from bpfctl.cli.app.session import App
from bpfctl.cli.app.words import Words
from bpfctl.cli.map.create import find_netdev
from bpfctl.errors import CommandError

if TYPE_CHECKING:
    from bpfctl.libbpf.bpf import Bpf

_MAX_INSNS = 4096
_OPTIONS = """
    CONFIG_BPF CONFIG_BPF_SYSCALL CONFIG_HAVE_EBPF_JIT CONFIG_BPF_JIT
    CONFIG_BPF_JIT_ALWAYS_ON CONFIG_DEBUG_INFO_BTF CONFIG_DEBUG_INFO_BTF_MODULES
    CONFIG_CGROUPS CONFIG_CGROUP_BPF CONFIG_CGROUP_NET_CLASSID CONFIG_SOCK_CGROUP_DATA
    CONFIG_BPF_EVENTS CONFIG_KPROBE_EVENTS CONFIG_UPROBE_EVENTS CONFIG_TRACING
    CONFIG_FTRACE_SYSCALLS CONFIG_FUNCTION_ERROR_INJECTION CONFIG_BPF_KPROBE_OVERRIDE
    CONFIG_NET CONFIG_XDP_SOCKETS CONFIG_LWTUNNEL_BPF CONFIG_NET_ACT_BPF CONFIG_NET_CLS_BPF
    CONFIG_NET_CLS_ACT CONFIG_NET_SCH_INGRESS CONFIG_XFRM CONFIG_IP_ROUTE_CLASSID
    CONFIG_IPV6_SEG6_BPF CONFIG_BPF_LIRC_MODE2 CONFIG_BPF_STREAM_PARSER
    CONFIG_NETFILTER_XT_MATCH_BPF CONFIG_TEST_BPF CONFIG_HZ
"""
_UNPRIVILEGED = {
    0: "bpf() syscall for unprivileged users is enabled",
    1: "bpf() syscall restricted to privileged users (without recovery)",
    2: "bpf() syscall restricted to privileged users (admin can change)",
}
_JIT = {
    0: "JIT compiler is disabled",
    1: "JIT compiler is enabled",
    2: "JIT compiler is enabled with debugging traces in kernel logs",
}
_JIT_LIMIT = 528482304
# Probing for these writes to the kernel's log or trace: only on request.
_ONLY_FULL = ("bpf_trace_printk", "bpf_trace_vprintk", "bpf_probe_write_user")
_HELPER_HELP = """\
/*
 * Use {prefix}HAVE_PROG_TYPE_HELPER(prog_type_name, helper_name)
 * to determine if <helper_name> is available for <prog_type_name>,
 * e.g.
 *\t#if {prefix}HAVE_PROG_TYPE_HELPER(xdp, bpf_redirect)
 *\t\t// do stuff with this helper
 *\t#elif
 *\t\t// use a workaround
 *\t#endif
 */
#define {prefix}HAVE_PROG_TYPE_HELPER(prog_type, helper)\t\\
\t{prefix}BPF__PROG_TYPE_ ## prog_type ## __HELPER_ ## helper
"""
_UNKNOWN_WORD = "expected no more arguments, 'kernel', 'dev', 'macros' or 'prefix', got: '{}'?"


class _Asked:
    """The words of the command."""

    def __init__(self) -> None:
        self.component = ""
        self.ifindex = 0
        self.macros = False
        self.prefix = ""
        self.full = False


def _parse(app: App, words: Words) -> _Asked:
    asked = _Asked()
    while words.left:
        if words.next_is("kernel"):
            words.take()
            _choose(asked, "kernel")
        elif words.next_is("dev"):
            words.take()
            _choose(asked, "dev")
            words.need(1)
            name = words.take()
            asked.ifindex = find_netdev(app, name)
            if not asked.ifindex:
                raise CommandError(f"unrecognized netdevice '{name}': No such device")
        elif words.next_is("macros"):
            if asked.prefix:
                raise CommandError("'prefix' argument can only be use after 'macros'")
            words.take()
            asked.macros = True
        elif words.next_is("prefix"):
            if not asked.macros:
                raise CommandError("'prefix' argument can only be use after 'macros'")
            if asked.prefix:
                raise CommandError("'prefix' already defined")
            words.take()
            words.need(1)
            asked.prefix = words.take()
        elif words.next_is("full"):
            words.take()
            asked.full = True
        elif words.next_is("unprivileged"):
            raise CommandError("unprivileged run not supported, recompile bpftool with libcap")
        else:
            raise CommandError(_UNKNOWN_WORD.format(words.take()))
    return asked


def _choose(asked: _Asked, component: str) -> None:
    if asked.component:
        raise CommandError("component to probe already specified")
    asked.component = component


def probe(app: App, words: Words) -> None:
    """Say what the kernel, or a device, can do."""
    _Probe(app, _parse(app, words)).run()


class _Probe:
    """One run of the probes. JSON wins over macros."""

    def __init__(self, app: App, asked: _Asked) -> None:
        self.app = app
        self.asked = asked
        self.bpf: Bpf = app.bpf
        self.json = app.out.json
        self.macros = asked.macros and self.json is None
        self.types: dict[str, bool] = {}

    # --- output ------------------------------------------------------------------

    def put(self, text: str) -> None:
        self.app.out.put(text)

    def section(self, name: str, plain: str, macros: str) -> None:
        """Begin a section."""
        if self.json is not None:
            self.json.name(name)
            self.json.begin_object()
        elif self.macros:
            self.put(f"{macros}\n")
        else:
            self.put(f"{plain}\n")

    def end(self) -> None:
        """End a section."""
        if self.json is not None:
            self.json.end_object()
        else:
            self.put("\n")

    def feature(self, name: str, plain: str, there: bool) -> None:
        """Say whether a feature is there."""
        if self.json is not None:
            self.json.member(f"have_{name}", there)
        elif self.macros:
            no = "" if there else "NO_"
            self.put(f"#define {self.asked.prefix}{no}HAVE_{name.upper()}\n")
        else:
            self.put(f"{plain} is {'' if there else 'NOT '}available\n")

    # --- sections -----------------------------------------------------------------

    def run(self) -> None:
        """Go through all sections."""
        if self.json is not None:
            self.json.begin_object()
        if not self.asked.ifindex:
            self._system()
        self.section(
            "syscall_config",
            "Scanning system call availability...",
            "/*** System call availability ***/",
        )
        self.feature("bpf_syscall", "bpf() syscall", True)
        self.end()
        self._prog_types()
        self._map_types()
        self._helpers()
        self._misc()
        if self.json is not None:
            self.json.end_object()

    def _system(self) -> None:
        self.section(
            "system_config",
            "Scanning system configuration...",
            "/*** Misc kernel config items ***/",
        )
        config = self.app.kernel.config
        facts: list[tuple[str, int, str]] = [
            ("unprivileged_bpf_disabled", config.unprivileged_bpf_disabled,
             _UNPRIVILEGED[config.unprivileged_bpf_disabled]),
            ("bpf_jit_enable", config.jit_enable, _JIT[config.jit_enable]),
            ("bpf_jit_harden", 0, "JIT compiler hardening is disabled"),
            ("bpf_jit_kallsyms", 1, "JIT compiler kallsyms exports are enabled for root"),
            ("bpf_jit_limit", _JIT_LIMIT, "Global memory limit for JIT compiler for unprivileged "
             f"users is {_JIT_LIMIT} bytes"),
        ]  # fmt: skip
        for name, value, plain in facts:
            if self.json is not None:
                self.json.member(name, value)
            elif not self.macros:
                self.put(f"{plain}\n")
        values = self.app.kernel.kconfig()
        for option in _OPTIONS.split():
            self._option(option, values.get(option))
        self.end()

    def _option(self, option: str, value: str | None) -> None:
        if self.json is not None:
            self.json.member(option, value)
        elif self.macros:
            if option == "CONFIG_HZ":
                self.put(f"#define {self.asked.prefix}{option} {value}\n")
        elif value is None:
            self.put(f"{option} is not set\n")
        else:
            self.put(f"{option} is set to {value}\n")

    def _prog_types(self) -> None:
        from bpfctl.cli.feature.ask import prog_type_works
        from bpfctl.cli.feature.builtins import NR_PROG_TYPES
        from bpfctl.uapi import PROG_TYPES

        self.section(
            "program_types", "Scanning eBPF program types...", "/*** eBPF program types ***/"
        )
        names = PROG_TYPES[1:NR_PROG_TYPES]
        if self.asked.ifindex:
            names = ("sched_cls", "xdp")
        for name in names:
            there = not self.asked.ifindex and prog_type_works(self.bpf, name)
            self.types[name] = there
            self.feature(f"{name}_prog_type", f"eBPF program_type {name}", there)
        self.end()

    def _map_types(self) -> None:
        from bpfctl.cli.feature.ask import map_type_works
        from bpfctl.cli.feature.builtins import NR_MAP_TYPES
        from bpfctl.uapi import MAP_TYPES

        self.section("map_types", "Scanning eBPF map types...", "/*** eBPF map types ***/")
        names = ("hash", "array") if self.asked.ifindex else MAP_TYPES[1:NR_MAP_TYPES]
        for name in names:
            there = not self.asked.ifindex and map_type_works(self.bpf, name)
            self.feature(f"{name}_map_type", f"eBPF map_type {name}", there)
        self.end()

    def _helpers(self) -> None:
        self.section(
            "helpers", "Scanning eBPF helper functions...", "/*** eBPF helper functions ***/"
        )
        if self.macros:
            self.put(_HELPER_HELP.format(prefix=self.asked.prefix))
        for name in self.types:
            self._helpers_of(name)
        self.end()

    def _helpers_of(self, name: str) -> None:
        from bpfctl.cli.feature.ask import NO_HELPERS

        found = self._offered(name) if self.types[name] and name not in NO_HELPERS else []
        if self.json is not None:
            self.json.name(f"{name}_available_helpers")
            self.json.begin_array()
            for helper in found:
                self.json.string(helper)
            self.json.end_array()
            return
        if self.macros:
            for helper in found:
                macro = f"{self.asked.prefix}BPF__PROG_TYPE_{name}__HELPER_{helper}"
                self.put(f"#define {macro} 1\n")
            return
        self.put(f"eBPF helpers supported for program type {name}:\n")
        if not self.types[name]:
            self.put("\tProgram type not supported\n")
        elif not found:
            self.put("\tCould not determine which helpers are available\n")
        for helper in found:
            self.put(f"\t- {helper}\n")

    def _offered(self, name: str) -> list[str]:
        """Return the helpers that programs of a type may call, whatever their licence."""
        from bpfctl.cli.feature.ask import load_attr
        from bpfctl.cli.feature.builtins import helper_names

        attr = load_attr(name, b"")
        sleepable = bool(attr.prog_flags)
        numbers = self.app.kernel.helpers_offered(
            attr.prog_type, attr.expected_attach_type, sleepable
        )
        names = helper_names()
        found = [names[number] for number in sorted(numbers) if number < len(names)]
        return [helper for helper in found if self.asked.full or helper not in _ONLY_FULL]

    def _misc(self) -> None:
        from bpfctl.cli.feature.ask import program_works

        self.section(
            "misc", "Scanning miscellaneous eBPF features...", "/*** eBPF misc features ***/"
        )
        there = not self.asked.ifindex
        for name, plain, insns in (
            ("large_insn_limit", "Large program size limit", _large()),
            ("bounded_loops", "Bounded loop support", _loop()),
            ("v2_isa_extension", "ISA extension v2", _jump(0xA5)),
            ("v3_isa_extension", "ISA extension v3", _jump(0xA6)),
        ):
            works = there and program_works(self.bpf, "socket_filter", insns)
            self.feature(name, plain, works)
        self.end()


def _code(*insns: tuple[int, int, int, int]) -> bytes:
    return b"".join(struct.pack("<BBhi", *insn) for insn in insns)


_MOV0, _EXIT = (0xB7, 0, 0, 0), (0x95, 0, 0, 0)


def _large() -> bytes:
    return _code(*[(0xB7, 0, 0, 1)] * _MAX_INSNS, _EXIT)


def _loop() -> bytes:
    return _code((0xB7, 0, 0, 10), (0x07, 0, 0, -1), (0x55, 0, -2, 0), _EXIT)


def _jump(opcode: int) -> bytes:
    return _code(_MOV0, (opcode, 0, 0, 1), _MOV0, _EXIT)
