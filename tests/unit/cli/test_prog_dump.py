"""``bpfctl prog dump xlated``: the text of every kind of instruction, and of whole programs."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from bpfctl.isa.disasm import text
from bpfctl.isa.helper_names import HELPERS, helper_name
from bpfctl.isa.insn import Insn, decode, encode

OBJECTS = Path(__file__).parents[2] / "data" / "objects"
FS = "/sys/fs/bpf"


@pytest.mark.parametrize(
    ("insn", "want"),
    [
        ((0xB4, 0, 0, 0, 0), "(b4) w0 = 0"),
        ((0x07, 2, 0, 0, -12), "(07) r2 += -12"),
        ((0x0C, 1, 2, 0, 0), "(0c) w1 += w2"),
        ((0xBF, 1, 2, 8, 0), "(bf) r1 = (s8)r2"),
        ((0xBC, 1, 2, 16, 0), "(bc) w1 = (s16)w2"),
        ((0xBF, 1, 2, 32, 0), "(bf) r1 = (s32)r2"),
        ((0x0F, 1, 2, 8, 0), "(0f) r1 += r2"),  # only moves extend the sign
        ((0x3F, 1, 2, 1, 0), "(3f) r1 s/= r2"),
        ((0x94, 1, 0, 1, 7), "(94) w1 s%= 7"),
        ((0x94, 1, 0, 0, 7), "(94) w1 %= 7"),
        ((0xC7, 1, 0, 0, 3), "(c7) r1 s>>= 3"),
        ((0x87, 2, 0, 0, 0), "(87) r2 = -r2"),
        ((0x84, 2, 0, 0, 0), "(84) w2 = -w2"),
        ((0xDC, 2, 0, 0, 16), "(dc) r2 = be16 r2"),
        ((0xD4, 2, 0, 0, 32), "(d4) r2 = le32 r2"),
        ((0xD7, 1, 0, 0, 16), "(d7) r1 = bswap16 r1"),
        ((0xBF, 1, 2, 1, 0x20003), "(bf) r1 = addr_space_cast(r2, 2, 3)"),
        ((0xBF, 0, 0, -1, 0), "(bf) r0 = &(void __percpu *)(r0)"),
        ((0x61, 1, 1, 112, 0), "(61) r1 = *(u32 *)(r1 +112)"),
        ((0x81, 1, 1, -4, 0), "(81) r1 = *(s32 *)(r1 -4)"),
        ((0x7B, 10, 1, -8, 0), "(7b) *(u64 *)(r10 -8) = r1"),
        ((0x72, 1, 0, 0, 5), "(72) *(u8 *)(r1 +0) = 5"),
        ((0xC2, 0, 0, 0, 0), "(c2) nospec"),
        ((0xDB, 1, 2, 0, 0), "(db) lock *(u64 *)(r1 +0) += r2"),
        ((0xC3, 1, 2, 4, 0xA0), "(c3) lock *(u32 *)(r1 +4) ^= r2"),
        ((0xDB, 1, 2, 0, 0x01), "(db) r2 = atomic64_fetch_add((u64 *)(r1 +0), r2)"),
        ((0xC3, 1, 2, 0, 0x51), "(c3) r2 = atomic_fetch_and((u32 *)(r1 +0), r2)"),
        ((0xDB, 1, 2, 0, 0xE1), "(db) r2 = atomic64_xchg((u64 *)(r1 +0), r2)"),
        ((0xC3, 1, 2, 0, 0xF1), "(c3) r0 = atomic_cmpxchg((u32 *)(r1 +0), r0, r2)"),
        ((0xDB, 1, 2, 0, 0x99), "BUG_db"),
        ((0x28, 0, 0, 0, 12), "(28) r0 = *(u16 *)skb[12]"),
        ((0x40, 0, 1, 0, 4), "(40) r0 = *(u32 *)skb[r1 + 4]"),
        ((0x00, 0, 0, 0, 0), "BUG_ld_00"),
        ((0x01, 0, 0, 0, 0), "BUG_ldx_01"),
        ((0x18, 1, 0, 0, 7), "(18) r1 = imm7"),
        ((0x05, 0, 0, 3, 0), "(05) goto pc+3"),
        ((0x06, 0, 0, 0, -3), "(06) gotol pc-3"),
        ((0xE5, 0, 0, 2, 0), "(e5) may_goto pc+2"),
        ((0x25, 1, 0, 2, 5), "(25) if r1 > 0x5 goto pc+2"),
        ((0xC6, 1, 0, 1, -4), "(c6) if w1 s< 0xfffffffc goto pc+1"),
        ((0x45, 1, 0, 1, 8), "(45) if r1 & 0x8 goto pc+1"),
        ((0x1D, 1, 2, -1, 0), "(1d) if r1 == r2 goto pc-1"),
        ((0x85, 0, 0, 0, 1), "(85) call someone#1"),
        ((0x85, 0, 1, 4, 1), "(85) call pcsomeone"),
        ((0x95, 0, 0, 0, 0), "(95) exit"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_instruction_text(insn, want):
    got = text(Insn(*insn), decode(encode(0)), lambda _: "someone", lambda i, _: f"imm{i.imm}")
    assert got == want


def test_every_opcode_has_a_text():
    zero = decode(encode(0))
    for code in range(256):
        assert text(Insn(code, 1, 2, 3, 4), zero, lambda _: "f", lambda *_: "v")


def test_helper_names():
    assert len(HELPERS) == 212
    assert helper_name(1) == "bpf_map_lookup_elem"
    assert helper_name(160) == "bpf_ktime_get_coarse_ns"
    assert (helper_name(0), helper_name(212)) == (None, None)


def load(cli, name):
    cli.ok("prog", "load", OBJECTS / f"{name}.bpf.o", f"{FS}/p")


def test_map_references_and_calls(cli):
    load(cli, "globals")
    out = cli.ok("prog", "dump", "xlated", "name", "account")
    (found,) = json.loads(cli.ok("-j", "prog"))
    held = json.loads(cli.ok("-j", "map"))
    assert sorted(found["map_ids"]) == [entry["id"] for entry in held]
    for entry in held:
        assert f" = map[id:{entry['id']}][0]+" in out
    load_lines = [line for line in out.splitlines() if "map[id:" in line]
    first = int(load_lines[0].partition(":")[0])
    assert f"\n{first + 2:4d}: " in out  # the second slot has no line


def test_opcodes_of_a_wide_load(cli):
    load(cli, "alu")
    out = cli.ok("prog", "dump", "xlated", "name", "alu", "opcodes")
    assert (
        "  19: (18) r2 = 0x1122334455667788\n"
        "       18 02 00 00 88 77 66 55 00 00 00 00 44 33 22 11\n"
    ) in out
    rows = json.loads(cli.ok("-j", "prog", "dump", "xlated", "name", "alu", "opcodes"))
    (wide,) = [row for row in rows if "0x1122334455667788" in row["disasm"]]
    assert len(wide["opcodes"]["imm"]) == 12


def test_functions_have_prototypes_and_tags(cli):
    load(cli, "sub")
    out = cli.ok("prog", "dump", "xlated", "name", "caller")
    assert "int helper_static(u32 v):\n" in out
    assert "int helper_global(u32 a, u32 b):\n" in out
    calls = [line.partition("call ")[2] for line in out.splitlines() if " call " in line]
    assert [call.partition("#")[0] for call in calls] == ["pc+4", "pc+5"]
    assert [call[-14:] for call in calls] == ["_helper_static", "_helper_global"]


def test_interpreted_calls_have_no_names(cli):
    cli.ok("sim", "set", "jit", 0)
    load(cli, "sub")
    out = cli.ok("prog", "dump", "xlated", "name", "caller")
    assert "call pc+4\n" in out
    assert "not jited" in cli.ok("prog")


def test_raw_file(cli, tmp_path):
    load(cli, "basic")
    path = tmp_path / "insns"
    assert cli.ok("-j", "prog", "dump", "xlated", "name", "accept_none", "file", path) == "null\n"
    assert struct.unpack("<2Q", path.read_bytes()) == (0xB4, 0x95)


def test_several_programs(cli):
    cli.ok("prog", "loadall", OBJECTS / "cg.bpf.o", f"{FS}/p")
    (tag,) = {found["tag"] for found in json.loads(cli.ok("-j", "prog"))}
    out = cli.ok("prog", "dump", "xlated", "tag", tag)
    blocks = out.split("\n\n")
    assert len(blocks) == 6
    assert blocks[0].splitlines()[0].endswith(f": cgroup_skb  name cg_in  tag {tag}  gpl")
    rows = json.loads(cli.ok("-j", "prog", "dump", "xlated", "tag", tag))
    assert list(rows[0]) == ["id", "type", "name", "tag", "gpl_compatible", "insns"]
    for words in (["file", "x"], ["visual"]):
        result = cli("prog", "dump", "xlated", "tag", tag, *words)
        assert (result.status, result.stderr) == (255, "Error: several programs matched\n")


def test_graph_of_branches(cli):
    """The edges are those that the real bpftool draws of the real kernel's program."""
    path = cli.ok("sample", "object", "packets").strip()
    cli.ok("prog", "loadall", path, f"{FS}/packets")
    out = cli.ok("prog", "dump", "xlated", "name", "count_pass", "visual")
    lines = [line.split() for line in out.splitlines() if "weight" in line]
    edges = [
        tuple(int(words[at].split(":")[0].removeprefix("fn_0_bb_")) for at in (0, 2))
        for words in lines
    ]
    assert edges == [
        (0, 2), (2, 3), (2, 5), (3, 4), (3, 5), (4, 5), (5, 6), (5, 7), (6, 8), (7, 8), (8, 9),
        (8, 10), (9, 10), (10, 1),
    ]  # fmt: skip
    assert "if r4 \\> r3 goto pc+3\\l\\\n" in out


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["dump"], "expected 'xlated' or 'jited', got: (null)"),
        (["dump", "what"], "expected 'xlated' or 'jited', got: what"),
        (["dump", "jited", "name", "x"], "No JIT disassembly support"),
    ],
    ids=["nothing", "other", "native"],
)
def test_refused_words(cli, words, error):
    result = cli("prog", *words)
    assert (result.status, result.stderr) == (255, f"Error: {error}\n")
