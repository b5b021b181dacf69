"""bpftool's ``prog`` object."""

from __future__ import annotations

from bpfctl.cli.app.table import HELP, Check, Table, Verb, missing
from bpfctl.errors import E

_PACKAGE = "bpfctl.cli.prog"
_SHOW = f"{_PACKAGE}.show:show"
_DUMP = "{xlated | jited} PROG <[file FILE] [opcodes] [linum] [visual]>"
# In the order in which bpftool compares abbreviations; "dev" is the old word for "offload_dev".
_LOAD = (
    "FILE PATH <[type PROG_TYPE] [map {idx N | name NAME} MAP] ... [dev DEV] [offload_dev DEV]"
    " [xdpmeta_dev DEV] [pinmaps PATH] [autoattach] [kernel_btf FILE]>"
)
_ATTACH = (
    "PROG {sk_msg_verdict | sk_skb_verdict | sk_skb_stream_verdict | sk_skb_stream_parser |"
    " flow_dissector} [MAP]"
)
_RUN = (
    "PROG <[data_in FILE] [data_out FILE] [data_size_out N] [ctx_in FILE] [ctx_out FILE]"
    " [ctx_size_out N] [repeat N]>"
)
_PIN = Check(3, -E.INVAL & 0xFF)

TABLE = Table(
    "prog",
    Verb("show", _SHOW, "[PROG]", "list programs"),
    Verb("list", _SHOW, "[PROG]", "list programs"),
    HELP,
    Verb("dump", f"{_PACKAGE}.dump:dump", _DUMP, "print the instructions of a program"),
    Verb("pin", f"{_PACKAGE}.pin:pin", "PROG PATH", "pin a program in the bpffs", True),
    Verb("load", f"{_PACKAGE}.load:load", _LOAD, "load the first program of an object", True),
    Verb("loadall", f"{_PACKAGE}.load:loadall", _LOAD, "load all programs of an object", True),
    missing("prog", "attach", _ATTACH, "attach a program to a map", _PIN),
    missing("prog", "detach", _ATTACH, "detach a program from a map", _PIN),
    Verb("tracelog", f"{_PACKAGE}.tracelog:tracelog", "", "print what programs trace"),
    Verb("run", f"{_PACKAGE}.run:run", _RUN, "run a program on given data", True),
    Verb(
        "profile",
        f"{_PACKAGE}.profile:profile",
        "PROG [duration N] METRIC ...",
        "count events of a program",
    ),
    Verb(
        "trace",
        f"{_PACKAGE}.trace:trace",
        "PROG <[data_in FILE] [ctx_in FILE] [until INSN]>",
        "step through a test run beside its source",
        True,
    ),
    Verb(
        "exec",
        f"{_PACKAGE}.exec:exec_",
        "<[insns HEX] [MEMORY]>",
        "run bare instructions and print r0",
    ),
)
