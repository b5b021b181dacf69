"""prog exec and prog trace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bpfctl.isa.asm import assemble

OBJECTS = Path(__file__).parents[2] / "data" / "objects"


def exec_(cli, text: str, *words: str, insns: bytes = b""):
    return cli("prog", "exec", *words, "insns", (insns or assemble(text)).hex())


@pytest.mark.parametrize("engine", ["interp", "py", "auto"])
def test_r0_of_a_buffer(cli, engine):
    text = "r0 = *(u64 *)(r1 +0); r0 += r2; exit"
    done = exec_(cli, text, "0100000000000080", "--engine", engine)
    assert (done.status, done.stdout) == (0, "8000000000000009\n")


def test_blanks_and_json(cli):
    done = exec_(cli, "*(u8 *)(r1 +1) = 7; r0 = 1; exit", "aa bb", "-j")
    assert json.loads(done.stdout) == {"r0": "0x1", "memory": "aa07"}


@pytest.mark.parametrize(
    ("insns", "what"),
    [
        (bytes.fromhex("ff00000000000000"), "unknown opcode"),
        (bytes.fromhex("9500000000000000")[:4], "no program"),
        (assemble("r0 = 0"), "falls off"),
        (bytes.fromhex("0500010000000000 9500000000000000"), "jump out of range"),
        (bytes.fromhex("9500000001000000"), "reserved field"),
        (assemble("r0 = *(u64 *)(r1 +0); exit"), "invalid read"),
    ],
)
def test_what_is_no_program_is_told(cli, insns, what):
    done = cli("prog", "exec", "insns", insns.hex())
    assert done.status == 255
    assert what in done.stderr


def test_unknown_engine(cli):
    done = exec_(cli, "r0 = 0; exit", "--engine", "steam")
    assert "unknown engine 'steam'" in done.stderr


def test_trace_alone_is_tracelog(cli, monkeypatch):
    from bpfctl.cli.prog.verbs import TABLE

    ran = []
    monkeypatch.setattr(TABLE.verbs["tracelog"], "run", lambda app, words: ran.append(words.left))
    assert cli("prog", "trace").ok
    assert ran == [0]


def test_trace_shows_registers_memory_and_source(cli):
    assert cli("prog", "load", str(OBJECTS / "basic.bpf.o"), "/sys/fs/bpf/p").ok
    plain = cli("prog", "trace", "pinned", "/sys/fs/bpf/p")
    assert plain.status == 0, plain.stderr
    assert "   0: (" in plain.stdout
    assert plain.stdout.splitlines()[-1].startswith("Return value: ")
    found = json.loads(cli("-j", "prog", "trace", "pinned", "/sys/fs/bpf/p", "until", "0").stdout)
    assert [step["insn"] for step in found["steps"]] == [0]
    assert found["executed"] > 1
