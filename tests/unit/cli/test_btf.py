"""``bpfctl btf``, beyond what the recorded scenarios show."""

import json
from pathlib import Path

import pytest

from bpfctl.btf.build import BtfBuilder
from bpfctl.btf.parse import parse_btf

OBJECTS = Path(__file__).parents[2] / "data" / "objects"
FS = "/sys/fs/bpf"


@pytest.fixture
def maps(cli):
    """Load an object with four maps of types."""
    cli.ok("prog", "load", OBJECTS / "maps.bpf.o", f"{FS}/p", "pinmaps", f"{FS}/m")


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (["key"], ["[6] TYPEDEF 'u32' type_id=7"]),
        (["v"], ["[9] TYPEDEF 'u64' type_id=10"]),
        (["kv"], ["[6] TYPEDEF 'u32' type_id=7", "[9] TYPEDEF 'u64' type_id=10"]),
        ([], ["[6] TYPEDEF 'u32' type_id=7", "[9] TYPEDEF 'u64' type_id=10"]),
        (["key", "format", "raw"], ["[6] TYPEDEF 'u32' type_id=7"]),
    ],
    ids=" ".join,
)
def test_types_of_a_map(cli, maps, words, lines):
    assert cli.ok("btf", "dump", "map", "pinned", f"{FS}/m/counters", *words).splitlines() == lines


def test_all_types_of_a_map_are_those_of_its_object(cli, maps):
    whole = cli.ok("btf", "dump", "map", "name", "counters", "all")
    assert whole == cli.ok("btf", "dump", "id", 1)
    assert len(whole.splitlines()) > 76


def test_a_key_without_type(cli):
    cli.ok("prog", "load", OBJECTS / "meta.bpf.o", f"{FS}/p")
    out = cli.ok("btf", "dump", "map", "name", "meta.rodata", "key")
    assert out == "[0] UNKNOWN '(anon)'\n"


@pytest.mark.parametrize("json_mode", [False, True], ids=["plain", "JSON"])
def test_a_map_without_types(cli, json_mode):
    cli.ok("map", "create", f"{FS}/a", "type", "array", "key", 4, "value", 4, "entries", 1,
           "name", "a")
    options = ["-j"] if json_mode else []
    result = cli(*options, "btf", "dump", "map", "name", "a")
    assert result.status == 254
    text = result.stdout if json_mode else result.stderr
    assert text.count("get BTF object by id (0): No such file or directory") == 1
    assert text.count("get btf by id (0): No such file or directory") == 1


def test_users_of_btf_come_and_go(cli, maps):
    cli.ok("sim", "rm", f"{FS}/p")
    (found,) = json.loads(cli.ok("-j", "btf", "show"))
    assert (found["prog_ids"], len(found["map_ids"])) == ([], 4)
    for name in ("counters", "flows", "pcpu", "colors"):
        cli.ok("sim", "rm", f"{FS}/m/{name}")
    assert cli.ok("btf", "show") == ""


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["show", "name", "x"], "expected 'id', got: 'name'?"),
        (["show", "id", "1", "2"], "what is 'id'?"),
    ],
    ids=["name", "three words"],
)
def test_refused_words(cli, words, error):
    result = cli("btf", *words)
    assert (result.status, result.stderr) == (255, f"Error: {error}\n")


def split_btf(tmp_path):
    """Write a base and a BTF whose only type refers to it; return their paths."""
    base = BtfBuilder()
    number = base.add_int("int", 4, 1)
    (tmp_path / "base").write_bytes(base.encode())
    blob = bytearray(_pointer(number))
    (tmp_path / "split").write_bytes(bytes(blob))
    return tmp_path / "base", tmp_path / "split"


def _pointer(type_id: int) -> bytes:
    """Return a blob with one pointer, to a type that is not in it."""
    header = bytes.fromhex("9feb0100") + b"".join(
        word.to_bytes(4, "little") for word in (24, 0, 12, 12, 1)
    )
    record = b"".join(word.to_bytes(4, "little") for word in (0, 2 << 24, type_id))
    return header + record + b"\0"


def test_split_btf_follows_its_base(cli, tmp_path):
    base, split = split_btf(tmp_path)
    assert len(parse_btf(base.read_bytes())) == 1
    assert cli.ok("-B", base, "btf", "dump", "file", split) == "[2] PTR '(anon)' type_id=1\n"


@pytest.mark.parametrize(
    ("name", "content", "status", "said"),
    [
        ("short.btf", b"\x9f\xeb\x01\x00\x18", 234, ""),
        ("a.o", b"\x7fELF", 95, "libbpf: failed to get EHDR from {path}\n"),
    ],
    ids=["BTF cut off", "ELF cut off"],
)
def test_damaged_files(cli, tmp_path, name, content, status, said):
    path = tmp_path / name
    path.write_bytes(content)
    result = cli("btf", "dump", "file", path)
    assert result.status == status
    assert result.stderr.startswith(said.format(path=path))
    assert f"Error: failed to load BTF from {path}: " in result.stderr


def test_a_directory_is_no_btf(cli, tmp_path):
    result = cli("btf", "dump", "file", tmp_path)
    assert (result.status, result.stderr) == (
        251, f"Error: failed to load BTF from {tmp_path}: Input/output error\n"
    )


def test_btf_without_types_prints_nothing_and_succeeds(cli, tmp_path):
    import struct

    empty = tmp_path / "empty.btf"
    empty.write_bytes(struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, 0, 0, 1) + b"\0")
    assert cli.ok("btf", "dump", "file", empty) == ""
    assert "struct" not in cli.ok("btf", "dump", "file", empty, "format", "c")


def test_objects_of_machine_0_are_read(cli, tmp_path):
    from pathlib import Path

    objects = Path(__file__).parents[2] / "data" / "objects"
    data = bytearray((objects / "maps.bpf.o").read_bytes())
    data[18:20] = b"\0\0"
    old = tmp_path / "old.o"
    old.write_bytes(data)
    dumps = [cli.ok("btf", "dump", "file", path) for path in (old, objects / "maps.bpf.o")]
    assert dumps[0] == dumps[1]
    cli.ok("cost", old)
