"""``bpfctl prog``, beyond what the recorded scenarios show."""

import json
import shutil
from pathlib import Path

import pytest

OBJECTS = Path(__file__).parents[2] / "data" / "objects"
FS = "/sys/fs/bpf"


@pytest.fixture
def obj():
    """Return the path of an object file."""
    return lambda name: str(OBJECTS / f"{name}.bpf.o")


def names(cli, kind="prog"):
    return [found["name"] for found in json.loads(cli.ok("-j", kind, "show"))]


def test_nothing_stays_of_programs_without_pins(cli, obj):
    cli.ok("prog", "load", obj("multi"), f"{FS}/p")
    assert names(cli) == ["xdp_pass"]
    cli.ok("sim", "rm", f"{FS}/p")
    assert (cli.ok("prog"), cli.ok("map")) == ("", "")


def test_programs_hold_their_maps(cli, obj):
    cli.ok("prog", "load", obj("nest"), f"{FS}/p")
    assert names(cli, "map") == ["first", "second", "outer"]


def test_metadata_is_shown(cli, obj):
    cli.ok("prog", "load", obj("meta"), f"{FS}/p")
    assert cli.ok("prog").endswith(
        '\n\tbtf_id 1\n\tmetadata:\n\t\tauthor = "somebody"\n\t\tlevel = 3\n'
    )
    (found,) = json.loads(cli.ok("-j", "prog"))
    assert found["metadata"] == {"author": "somebody", "level": 3}
    assert list(found)[-1] == "metadata"


def test_a_failed_load_leaves_no_pins(cli, obj, tmp_path):
    broken = tmp_path / "maps.bpf.o"
    shutil.copy(obj("maps"), broken)
    result = cli("--caps", "cap_bpf", "prog", "loadall", broken, f"{FS}/p", "type", "xdp")
    assert result.status == 255
    assert result.stderr.splitlines()[-2:] == [
        f"libbpf: failed to load object '{broken}'",
        "Error: failed to load object file",
    ]
    assert cli.ok("-f", "map") == ""


def test_a_pin_in_the_way_unpins_the_rest(cli, obj):
    cli.ok("prog", "loadall", obj("multi"), f"{FS}/p")
    cli.ok("sim", "rm", f"{FS}/p/xdp_pass")
    result = cli("prog", "loadall", obj("multi"), f"{FS}/p")
    assert result.stderr == (
        f"libbpf: prog 'xdp_drop': failed to pin at '{FS}/p/xdp_drop': File exists\n"
        "Error: failed to pin all programs\n"
    )
    assert "xdp_pass" not in names(cli)


@pytest.mark.parametrize("verb", ["load", "loadall"])
def test_maps_in_the_way_unpin_the_programs(cli, obj, verb):
    cli.ok("prog", verb, obj("tail"), f"{FS}/p", "pinmaps", f"{FS}/m")
    result = cli("prog", verb, obj("tail"), f"{FS}/q", "pinmaps", f"{FS}/m")
    assert result.stderr.endswith("Error: failed to pin all maps\n")
    assert f"{FS}/q/entry" not in cli.ok("-f", "prog")
    assert f"pinned {FS}/q\n" not in cli.ok("-f", "prog")


def test_a_bpffs_is_mounted_where_needed(cli, obj, tmp_path):
    target = tmp_path / "new"
    cli.ok("prog", "loadall", obj("sub"), target)
    assert f"pinned {target}/caller\n" in cli.ok("-f", "prog")
    result = cli("-n", "prog", "loadall", obj("sub"), tmp_path / "other")
    assert result.stderr == (
        "Error: no BPF file system found, not mounting it due to --nomount option\n"
    )


def test_autoattach_pins_what_attaches_to_nothing(cli, obj):
    result = cli("prog", "load", obj("sub"), f"{FS}/p", "autoattach")
    assert (result.status, result.stderr) == (
        0, "Program caller does not support autoattach, falling back to pinning\n"
    )
    result = cli("prog", "load", obj("externs"), f"{FS}/q", "autoattach")
    assert result.stderr == (
        "Error: bpfctl does not simulate links yet, as 'configured' needs one\n"
    )
    assert names(cli) == ["caller"]


def test_legacy_maps_are_refused_as_libbpf_does(cli, obj):
    result = cli("prog", "load", obj("legacy"), f"{FS}/p")
    assert (result.status, result.stderr) == (
        255,
        "libbpf: elf: legacy map definitions in 'maps' section are not supported by "
        "libbpf v1.0+\nError: failed to open object file\n",
    )


def test_a_reused_map_is_pinned_under_its_own_name(cli, obj):
    cli.ok("map", "create", f"{FS}/c", "type", "array", "key", 4, "value", 8, "entries", 3,
           "name", "mine")
    cli.ok("prog", "load", obj("maps"), f"{FS}/p", "map", "idx", 0, "pinned", f"{FS}/c",
           "pinmaps", f"{FS}/m")
    assert f"pinned {FS}/m/mine\n" in cli.ok("-f", "map")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["map", "idx", 0, "name", "x"], ""),
        (["type", "xdp", "type", "tc"], "program type already specified"),
        (["offload_dev", "lo"], "bpfctl does not simulate programs on devices yet"),
        (["map", "idx", 7, "pinned", f"{FS}/c"], "map idx '7' not used"),
        (["map", "idx", 0, "pinned", f"{FS}/c", "map", "name", "counters", "pinned", f"{FS}/c"],
         "replacement for map idx 0 specified more than once"),
    ],
    ids=["no such map", "type twice", "device", "unused", "name and number"],
)
def test_refused_arguments(cli, obj, words, error):
    cli.ok("map", "create", f"{FS}/c", "type", "array", "key", 4, "value", 8, "entries", 3,
           "name", "mine")
    result = cli("prog", "load", obj("maps"), f"{FS}/p", *words)
    assert (result.status, result.stderr) == (255, f"Error: {error}\n" if error else "")
    assert names(cli) == []


def test_programs_in_a_full_cgroup(cli, obj):
    cli.ok("memcg", "create", "/box")
    cli.ok("memcg", "set", "/box", "memory.max=4096")
    result = cli("--cgroup", "/box", "prog", "loadall", obj("globals"), f"{FS}/p")
    assert (result.status, result.stderr) == (137, "Killed\n")
    assert cli.ok("map") == ""
    assert cli.ok("sim", "check").startswith("ok")
