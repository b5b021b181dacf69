"""GNU getopt as bpftool uses it."""

import pytest

from bpfctl.cli.app.options import Options, UnknownOption, parse
from bpfctl.cli.app.out import Out
from bpfctl.errors import CommandError


def scan(*argv: str) -> tuple[list[str], Options, Out]:
    options, out = Options(), Out()
    words = parse(list(argv), options, out, lambda word: word == "sim")
    return words, options, out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["map", "show", "-j"], ["map", "show"]),
        (["-nf", "map", "-d", "show"], ["map", "show"]),
        (["map", "--", "-1", "-j"], ["map", "-1", "-j"]),
        (["-", "map"], ["-", "map"]),
        (["-Lm", "x"], ["x"]),
        (["--use", "x"], ["x"]),
        (["--state=a", "map", "--uid", "5"], ["map"]),
        (["-d", "sim", "new", "--json", "-x"], ["sim", "new", "--json", "-x"]),
    ],
    ids=" ".join,
)
def test_words_left(argv, words):
    assert scan(*argv)[0] == words


@pytest.mark.parametrize(
    ("argv", "attribute"),
    [
        ("-f", "show_pinned"),
        ("--bpf", "show_pinned"),
        ("--map", "mapcompat"),
        ("-n", "nomount"),
        ("--no", "nomount"),
        ("--debug", "debug"),
        ("--u", "use_loader"),
        ("-jpV", "version"),
        ("--v", "version"),
        ("--he", "help"),
    ],
)
def test_switches_and_unique_prefixes(argv, attribute):
    assert getattr(scan(argv)[1], attribute)


@pytest.mark.parametrize("argv", [["-j", "-p"], ["-p", "-j"], ["-pj"], ["--pretty"]], ids=" ".join)
def test_pretty_in_any_order(argv):
    out = scan(*argv)[2]
    assert out.json is not None
    assert out.json.pretty


def test_help_ends_the_reading():
    _, options, out = scan("-h", "-j", "--nosuch")
    assert options.help
    assert out.json is None


@pytest.mark.parametrize(
    ("argv", "quoted"),
    [
        (["--nosuch"], "--nosuch"),
        (["map", "-x"], "-x"),
        (["-jx"], "-jx"),
        (["-xj"], "bpftool"),
        (["-n", "-xj"], "-n"),
        (["map", "-n", "-xj"], "map"),
        (["--b"], "--b"),
        (["--json=1"], "--json=1"),
        (["--legacy"], "--legacy"),
        (["-l"], "-l"),
        (["-B"], "-B"),
        (["-nB"], "-nB"),
        (["--base-btf"], "--base-btf"),
        (["--memlock-x"], "--memlock-x"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_unknown_option_quotes_what_getopt_stepped_over(argv, quoted):
    with pytest.raises(UnknownOption) as caught:
        scan(*argv)
    assert caught.value.text == f"unrecognized option '{quoted}'"


def test_our_options_take_values():
    assert scan("--me", "64K", "--as=7")[1].own == {"memlock": "64K", "as": "7"}
    with pytest.raises(CommandError, match="option '--cgroup' needs a value"):
        scan("--cgroup")


@pytest.mark.parametrize(
    ("content", "err"), [(None, -2), (b"", -5), (b"hello", -4001)], ids=["none", "empty", "text"]
)
def test_base_btf_must_be_btf(tmp_path, content, err):
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CommandError) as caught:
        scan("-B", str(path))
    assert caught.value.text == f"failed to parse base BTF at '{path}': {err}\n"


def test_base_btf_in_the_same_element(tmp_path):
    path = tmp_path / "btf"
    path.write_bytes(b"\x9f\xeb\x01\x00")
    assert scan(f"-nB{path}", "map")[1].base_btf == str(path)
