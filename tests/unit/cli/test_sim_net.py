"""``sim net``: devices by name, packets on them."""

from __future__ import annotations

import json


def loaded(cli) -> None:
    path = cli.ok("sample", "object", "packets").strip()
    cli.ok("prog", "loadall", path, "/sys/fs/bpf/p")


def test_four_commands_to_a_counted_packet(cli):
    loaded(cli)
    cli.ok("sim", "net", "dev", "eth0")
    cli.ok("net", "attach", "xdp", "name", "count_drop", "dev", "eth0")
    found = json.loads(
        cli.ok("sim", "net", "rx", "eth0", "--count", "7", "--proto", "tcp", "--json")
    )
    assert (found["packets"], found["xdp_drop"]) == (7, 7)
    counted = json.loads(
        cli.ok("-j", "map", "lookup", "name", "protocols", "key", "6", "0", "0", "0")
    )
    assert counted["formatted"]["value"] == 7
    device = json.loads(cli.ok("sim", "net", "list", "--json"))[1]
    assert (device["rx_packets"], device["rx_dropped"]) == (7, 7)
    assert cli.ok("sim", "check")


def test_a_pair_goes_together(cli):
    cli.ok("sim", "net", "veth", "a", "b")
    found = json.loads(cli.ok("sim", "net", "tx", "a", "--count", "2", "--json"))
    assert found == {"device": "a", "packets": 2}
    cli.ok("sim", "net", "rm", "b")
    assert [row["name"] for row in json.loads(cli.ok("sim", "net", "list", "--json"))] == ["lo"]


def test_a_device_that_is_down_takes_nothing(cli):
    cli.ok("sim", "net", "dev", "eth0")
    cli.ok("sim", "net", "set", "eth0", "--down")
    cli.ok("sim", "net", "rx", "eth0")
    device = json.loads(cli.ok("sim", "net", "list", "--json"))[1]
    assert (device["up"], device["rx_packets"], device["rx_dropped"]) == (False, 0, 1)


def test_refusals(cli):
    cli.ok("sim", "net", "dev", "eth0")
    for words, text in (
        (("rx", "eth9"), "no such device: 'eth9'"),
        (("dev", "eth0"), "can't make device 'eth0'"),
        (("rx", "eth0", "--queue", "3"), "device 'eth0' has 1 queues"),
        (("rx", "eth0", "--cpu", "99"), "there is no CPU 99"),
        (("rx", "eth0", "--pcap", "/nowhere"), "can't read '/nowhere'"),
        (("rm", "lo"), "can't remove device 'lo'"),
    ):
        result = cli("sim", "net", *words)
        assert result.status != 0
        assert text in result.stderr
