"""Simulated objects: kinds and attributes as data, life and death."""

from __future__ import annotations

import pytest

from bpfctl.errors import KernelError, errno_name
from bpfctl.kernel.kernel import Kernel
from bpfctl.kernel.objects import KINDS, SOCKET_STATES, parse_attributes, shown


@pytest.fixture
def kernel():
    return Kernel.in_memory("6.18")


def refused(call, *args, **named) -> str:
    with pytest.raises(KernelError) as error:
        call(*args, **named)
    return errno_name(error.value.code)


@pytest.mark.parametrize(
    ("kind", "words", "want"),
    [
        ("socket", "", {}),
        ("socket", "udp unbound", {"proto": "udp", "state": "unbound"}),
        ("socket", "reuseport", {"reuseport": True}),
        ("socket", "proto=unix type=dgram", {"proto": "unix", "type": "dgram"}),
        ("socket", "reuseport=no", {"reuseport": False}),
        ("netdev", "ifindex=7", {"ifindex": 7}),
    ],
)
def test_words_name_attributes(kind, words, want):
    assert parse_attributes(kind, words.split()) == want


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("socket", "sctp"),
        ("socket", "proto=sctp"),
        ("socket", "proto="),
        ("socket", "reuseport=perhaps"),
        ("socket", "ifindex=7"),
        ("netdev", "ifindex"),
        ("netdev", "ifindex=-1"),
        ("netdev", "ifindex=x"),
        ("inode", "big"),
        ("planet", ""),
    ],
)
def test_odd_words_are_refused_with_a_hint(kind, words):
    with pytest.raises(KernelError) as error:
        parse_attributes(kind, words.split())
    assert errno_name(error.value.code) == "EINVAL"
    assert error.value.hint


@pytest.mark.parametrize(
    ("kind", "name", "attributes", "want"),
    [
        ("planet", "", {}, "EINVAL"),
        ("netdev", "", {}, "EINVAL"),
        ("netdev", "lo", {}, "EEXIST"),
        ("netdev", "eth0", {"ifindex": 1}, "EEXIST"),
        ("netdev", "eth0", {"ifindex": -2}, "EINVAL"),
        ("netdev", "eth0", {"speed": 1000}, "EINVAL"),
        ("socket", "", {"proto": "sctp"}, "EINVAL"),
        ("socket", "", {"reuseport": "yes"}, "EINVAL"),
        ("pidfd", "99", {}, "ENOENT"),
        ("pidfd", "init", {}, "EINVAL"),
        ("cgroup", "/no/parent", {}, "ENOENT"),
    ],
)
def test_bad_objects_are_refused(kernel, kind, name, attributes, want):
    before = list(kernel.objects.records.keys_after(None))
    assert refused(kernel.objects.create, kind, name, **attributes) == want
    assert list(kernel.objects.records.keys_after(None)) == before


@pytest.mark.parametrize("proto", SOCKET_STATES)
def test_a_socket_starts_in_the_usual_state_of_its_protocol(kernel, proto):
    made = kernel.objects.create("socket", proto=proto)
    assert shown(made)["state"] == SOCKET_STATES[proto]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_opens_or_says_why_not(kernel, kind):
    made = kernel.objects.create(kind, "eth0" if kind == "netdev" else "")
    pid = kernel.spawn("user").pid
    if not KINDS[kind].opens:
        assert refused(kernel.objects.open, pid, made.id) == "EINVAL"
        return
    fd = kernel.objects.open(pid, made.id)
    assert shown(made)["descriptors"] == 1
    kernel.close(pid, fd)
    assert shown(made)["descriptors"] == 0


def test_interface_indexes_are_not_shared(kernel):
    indexes = [kernel.objects.create("netdev", f"eth{n}").priv["ifindex"] for n in range(3)]
    assert indexes == [2, 3, 4]
    assert kernel.objects.create("netdev", "tun", ifindex=9).priv["ifindex"] == 9
    assert kernel.objects.netdev(9).name == "tun"


def test_a_removed_device_is_unknown_and_its_index_free(kernel):
    made = kernel.objects.create("netdev", "eth0")
    assert kernel.objects.netdev(2) is made
    kernel.objects.remove(made.id)
    assert kernel.objects.netdev(2) is None
    assert kernel.objects.create("netdev", "eth0").priv["ifindex"] == 2


def test_the_loopback_device_stays(kernel):
    assert refused(kernel.objects.remove, kernel.objects.netdev(1).id) == "EOPNOTSUPP"


@pytest.mark.parametrize("kind", ["socket", "inode", "perf_event"])
def test_what_is_open_lives_until_the_last_close(kernel, kind):
    made = kernel.objects.create(kind)
    pid = kernel.spawn("user").pid
    fds = [kernel.objects.open(pid, made.id) for _ in range(2)]
    kernel.objects.remove(made.id)
    kernel.close(pid, fds[0])
    assert kernel.objects.get(made.id) is made
    kernel.exit_task(pid)
    assert refused(kernel.objects.get, made.id) == "ENOENT"


def test_a_pidfd_stays_open_when_its_task_ends(kernel):
    made = kernel.objects.create("pidfd")
    pid = kernel.spawn("user").pid
    fd = kernel.objects.open(pid, made.id)
    kernel.exit_task(int(made.name))
    assert shown(made)["gone"]
    assert refused(kernel.objects.open, pid, made.id) == "ENOENT"
    kernel.close(pid, fd)
    assert refused(kernel.objects.get, made.id) == "ENOENT"


def test_removing_a_pidfd_object_ends_the_task(kernel):
    pid = kernel.spawn("victim").pid
    kernel.objects.remove(kernel.objects.create("pidfd", str(pid)).id)
    assert refused(kernel.task, pid) == "ENOENT"


def test_one_object_for_a_cgroup_as_long_as_it_lives(kernel):
    made = kernel.objects.create("cgroup", "/box")
    assert kernel.memcg.lookup("/box").id == made.priv["memcg"]
    assert refused(kernel.objects.create, "cgroup", "/box") == "EEXIST"
    pid = kernel.spawn("user").pid
    kernel.objects.open(pid, made.id)
    kernel.memcg.remove("/box")
    again = kernel.objects.create("cgroup", "/box")
    assert again.id != made.id
    assert kernel.objects.find("cgroup", "/box") is again


def test_a_cgroup_with_tasks_cannot_be_removed(kernel):
    made = kernel.objects.create("cgroup", "/box")
    kernel.spawn("user", cgroup="/box")
    assert refused(kernel.objects.remove, made.id) == "EBUSY"
    assert not shown(made)["gone"]


def test_a_command_has_no_pidfd(kernel):
    pid = kernel.start_command()
    assert refused(kernel.objects.create, "pidfd", str(pid)) == "EINVAL"
