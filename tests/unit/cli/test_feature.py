"""`feature probe` and `feature list_builtins` of the chosen kernel."""

from __future__ import annotations

import json

import pytest


@pytest.mark.parametrize(
    ("kernel", "absent"),
    [
        ("5.10", {"task_storage", "bloom_filter", "user_ringbuf", "cgrp_storage", "arena"}),
        ("6.1", {"cgrp_storage", "arena"}),
        ("6.12", set()),
    ],
)
def test_map_types(cli, kernel, absent):
    cli.ok("sim", "new", "--kernel", kernel)
    found = json.loads(cli.ok("-j", "feature", "probe"))
    assert {f"have_{name}_map_type" for name in absent} == {
        name for name, there in found["map_types"].items() if not there
    }
    assert ("bpf_loop" in found["helpers"]["xdp_available_helpers"]) is (kernel != "5.10")


def test_names(cli):
    links = cli.ok("feature", "list_builtins", "link_types").split()
    assert links[:3] == ["unspec", "raw_tracepoint", "tracing"]
    assert json.loads(cli.ok("-j", "feature", "list_builtins", "helpers"))[1] == (
        "bpf_map_lookup_elem"
    )
    assert cli("feature", "list_builtins").status == 255
