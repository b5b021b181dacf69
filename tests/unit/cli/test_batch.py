"""``bpfctl batch`` on the simulated kernel."""

import pytest

FS = "/sys/fs/bpf"
CREATE = f"map create {FS}/m type hash key 4 value 4 entries 8 name m\n"


@pytest.fixture
def batch(cli, tmp_path):
    def run(text, *options):
        path = tmp_path / "batch.txt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return cli(*options, "batch", "file", path)

    return run


def test_one_task_for_all_lines(cli, batch):
    assert batch(CREATE + "map freeze name m\nmap show name m\n").stdout.endswith(
        "\tfrozen\nprocessed 3 commands\n"
    )


def test_stdin_is_as_good_as_a_file(cli):
    result = cli("batch", "file", "-", stdin=CREATE + "map dump name m")
    assert result.stdout == "Found 0 elements\nprocessed 2 commands\n"


def test_what_was_done_before_a_failure_stays(cli, batch):
    result = batch(CREATE + "map lookup name m key 1 0 0 0\nversion\n")
    assert (result.status, result.stdout) == (254, "key:\n01 00 00 00\n\nNot found\n")
    assert "name m" in cli.ok("map", "show")


def test_usage_ends_everything(cli, batch):
    result = batch(CREATE + "map dump\nversion\n")
    assert (result.status, result.stdout) == (255, "")
    assert result.stderr.startswith("Usage: bpftool map {")
    assert "name m" in cli.ok("map", "show")


def test_usage_leaves_json_whole(batch):
    result = batch("map dump\nversion\n", "-j")
    assert (result.status, result.stdout) == (255, '[{"command":["map","dump"],"output":null}]\n')


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("version \\\n", "missing continuation line on command 0"),
        ("version\nmap 'x\n", "unterminated quoted string in command 1"),
        ("x " * 4096, "too many arguments to command 0"),
        ("x" * 65535, "reading batch file failed: Argument list too long"),
        ("x" * 60000 + "\\\n" + "y" * 9000, "command 0 is too long"),
    ],
    ids=["continuation", "quote", "words", "line", "long"],
)
def test_bad_files(batch, text, error):
    result = batch(text)
    assert (result.status, result.stderr) == (255, f"Error: {error}\n")


@pytest.mark.parametrize(
    "text",
    [
        "map show \\\nname m\n",
        "map show name m # comment \\\n",
        "'map' \"show\" name 'm'\n",
        "map\tshow\r\nversion",
        "map show 'name'm\n",
        "\n\n  # nothing\nmap s n m\n",
    ],
)
def test_words_and_lines(cli, batch, text):
    batch(CREATE)
    assert batch(text).stdout.startswith("1: hash  name m  flags 0x0\n")


def test_a_batch_in_a_batch(batch, tmp_path):
    inner = tmp_path / "inner"
    inner.write_text("map show\n")
    assert batch(f"batch file {inner}\nmap show\n").stdout == (
        "processed 1 commands\nprocessed 2 commands\n"
    )


def test_a_batch_of_stdin_in_itself_goes_on_reading(cli):
    result = cli("batch", "file", "-", stdin="map show\nbatch file -\nmap show\nmap show\n")
    assert result.stdout == "processed 2 commands\nprocessed 2 commands\n"


def test_a_batch_that_runs_itself_ends(cli, tmp_path):
    path = tmp_path / "self"
    path.write_text(f"batch file {path}\n")
    assert cli("batch", "file", path).stderr == (
        f"Error: Can't open file ({path}): Too many open files\n"
    )


def test_options_are_ordinary_words(batch):
    assert batch("map show -j\n").stderr == "Error: what is '-j'?\n"


def test_bytes_that_are_no_text(cli, batch):
    batch(CREATE)
    assert batch(b"map show name \xff\xfe\n").status == 255
    assert batch(b"map show\0 name m\n").stdout.endswith("processed 1 commands\n")
    assert batch(b"\x0bmap show\n").stderr.startswith("Usage: bpftool [OPTIONS]")


def test_many_maps_stay_within_few_descriptors(cli, batch):
    """Maps named by path are kept open, a few at a time; others close with their line."""
    lines = [
        f"map create {FS}/m{n} type array key 4 value 4 entries 1 name m{n}\n" for n in range(9)
    ]
    lines += [f"map update pinned {FS}/m{n} key 0 0 0 0 value {n} 0 0 0\n" for n in range(9)] * 2
    lines += [f"map lookup pinned {FS}/m{n} key 0 0 0 0\n" for n in range(9)]
    result = batch("".join(lines))
    assert (
        result.stdout
        == "".join(f"key: 00 00 00 00  value: {n:02x} 00 00 00\n" for n in range(9))
        + "processed 36 commands\n"
    )


def test_a_map_that_lost_its_last_holder_is_gone_for_the_next_line(cli, batch):
    batch(
        f"map create {FS}/in type array key 4 value 4 entries 1 name in\n"
        f"map create {FS}/out type array_of_maps key 4 value 4 entries 1 name out "
        f"inner_map pinned {FS}/in\n"
        f"map update pinned {FS}/out key 0 0 0 0 value pinned {FS}/in\n"
    )
    cli.ok("sim", "rm", f"{FS}/in")
    result = batch("map show name in\nmap delete name out key 0 0 0 0\nmap show id 1\n")
    assert result.stdout.startswith("1: array  name in")
    assert result.stderr == "Error: get map by id (1): No such file or directory\n"
