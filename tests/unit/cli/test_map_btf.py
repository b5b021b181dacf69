"""Map elements by their BTF types: plain, JSON, per CPU."""

import json

import pytest

from bpfctl.btf.build import BtfBuilder
from bpfctl.btf.types import INT_SIGNED
from bpfctl.libbpf.bpf import Bpf
from bpfctl.store import open_kernel
from bpfctl.uapi import MAP_TYPE_NUMBER, MapCreateAttr

FS = "/sys/fs/bpf"


@pytest.fixture
def typed(cli, state):
    """Create a pinned map whose values are ``long``."""

    def create(kind, name):
        builder = BtfBuilder()
        number = builder.add_int("int", 4, INT_SIGNED)
        wide = builder.add_int("long", 8, INT_SIGNED)
        attr = MapCreateAttr(MAP_TYPE_NUMBER[kind], 4, 8, 2, map_name=name.encode())
        with open_kernel(str(state)) as kernel:
            bpf = Bpf(kernel, kernel.start_command())
            attr.btf_fd = bpf.btf_load(builder.encode())
            attr.btf_key_type_id, attr.btf_value_type_id = number, wide
            bpf.obj_pin(bpf.map_create(attr), f"{FS}/{name}")
            kernel.exit_task(bpf.pid)
        return f"{FS}/{name}"

    return create


def test_plain_dump_is_pretty_json(cli, typed):
    path = typed("array", "a")
    cli.ok("map", "update", "pinned", path, "key", 1, 0, 0, 0, "value", *[255] * 8)
    assert cli.ok("map", "dump", "pinned", path) == (
        '[{\n        "key": 0,\n        "value": 0\n    },{\n'
        '        "key": 1,\n        "value": -1\n    }\n]\n'
    )
    assert cli.ok("map", "lookup", "pinned", path, "key", 1, 0, 0, 0) == (
        '{\n    "key": 1,\n    "value": -1\n}\n'
    )
    assert cli.ok("map", "show", "pinned", path).endswith("\n\tbtf_id 1\n")


def test_json_has_bytes_and_formatted_values(cli, typed):
    path = typed("hash", "h")
    assert cli.ok("map", "dump", "pinned", path) == "[]\n"
    cli.ok("map", "update", "pinned", path, "key", 7, 0, 0, 0, "value", 5, *[0] * 7)
    dumped = json.loads(cli.ok("-j", "map", "dump", "pinned", path))
    assert dumped[0]["formatted"] == {"key": 7, "value": 5}
    assert dumped[0]["key"] == ["0x07", "0x00", "0x00", "0x00"]


def test_per_cpu(cli, typed):
    path = typed("percpu_array", "p")
    found = json.loads(cli.ok("-j", "map", "lookup", "pinned", path, "key", 1, 0, 0, 0))
    assert found["formatted"]["key"] == 1
    assert found["formatted"]["values"] == [{"cpu": cpu, "value": 0} for cpu in range(4)]


def test_misses_and_getnext_stay_hex(cli, typed):
    path = typed("hash", "h")
    assert cli("map", "lookup", "pinned", path, "key", 1, 0, 0, 0).stdout == (
        "key:\n01 00 00 00\n\nNot found\n"
    )


def test_formatted_only_if_every_map_has_types(cli, typed):
    typed("array", "twin")
    cli.ok(
        *f"map create {FS}/other type array key 4 value 1 entries 1 name twin".split(),
    )
    assert cli.ok("map", "dump", "name", "twin") == (
        "1: array  name twin  flags 0x0\n"
        "key: 00 00 00 00  value: 00 00 00 00 00 00 00 00\n"
        "key: 01 00 00 00  value: 00 00 00 00 00 00 00 00\n"
        "Found 2 elements\n"
        "\n"
        "2: array  name twin  flags 0x0\n"
        "key: 00 00 00 00  value: 00\n"
        "Found 1 element\n"
    )
