"""bpfctl sample list, run and compare, as typed."""

import json

import pytest

NAME = "test_lru_dist"
QUICK = ("--dist", "scan:keys=5,length=10", "10", "1")


def run(cli, *words):
    return cli("sample", "run", NAME, *words)


# --- list --------------------------------------------------------------------


@pytest.mark.parametrize("words", [("sample",), ("sample", "list"), ("sam", "l")])
def test_list(cli, words):
    lines = cli.ok(*words).splitlines()
    assert lines[0].split() == ["name", "about"]
    assert [line for line in lines if line.startswith(f"{NAME}  ")]


def test_list_as_json(cli):
    listed = {one["name"]: one for one in json.loads(cli.ok("sample", "list", "--json"))}
    assert listed[NAME]["usage"] == "<dist-file> <lru-size> <nr-tasks>"
    assert listed[NAME]["options"] == ["lookups", "dist"]


# --- run ---------------------------------------------------------------------


def test_run_on_the_kernel_in_the_state_file(cli, state):
    cli.ok("sim", "new", "--kernel", "5.10", "--cpus", "1")
    result = run(cli, *QUICK, "--memlock-bump")
    assert (result.status, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == "nr_cpus:1"
    assert lines[2].startswith("test_lru_loss0 ")
    assert lines[2].endswith("active-elem-losses:24(/800) newer-elem-losses:0(/100)")
    assert cli.ok("map", "show") == ""
    assert cli.ok("-j", "sim", "check")


@pytest.mark.parametrize("words", [("--memlock", "64K"), ()], ids=["given", "default"])
def test_run_into_the_limit_of_the_state_file(cli, words):
    cli.ok("sim", "new", "--kernel", "5.10")
    result = run(cli, *QUICK, *words)
    assert result.status == 134
    assert result.stdout.endswith("test_lru_loss0 (map_type:9 map_flags:0x0): ")
    assert result.stderr == (
        "bpf_create_map: Operation not permitted\n"
        "test_lru_dist: test_lru_loss0: Assertion `map_fd != -1' failed.\n"
        "hint: RLIMIT_MEMLOCK of 65536 bytes: user 0 has 0 bytes locked, this asks for 77824 "
        "more; --memlock 77824 would suffice\n"
    )


def test_run_in_a_limited_cgroup_of_the_state_file(cli):
    cli.ok("memcg", "create", "/small", "--max", "100K")
    result = cli("--cgroup", "/small", "sample", "run", NAME, *QUICK)
    assert result.status == 134
    assert "bpf_create_map: Cannot allocate memory\n" in result.stderr
    assert "hint: memory.max of /small is 102400 bytes" in result.stderr


def test_run_on_a_kernel_made_for_it_leaves_no_state_file(cli, state):
    result = run(cli, *QUICK, "--kernel", "5.11", "--cpus", "2", "--memlock", "4K")
    assert (result.status, result.stdout.split("\n")[0]) == (0, "nr_cpus:2")
    assert not state.exists()


def test_run_with_a_file_of_keys(cli, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("3\n4\n3\n")
    result = run(cli, "--kernel", "6.1", "--cpus", "1", keys, "10", "1")
    assert "    task:0 BPF LRU: nr_unique:2(/3) nr_misses:2(/3)\n" in result.stdout


def test_run_as_json(cli):
    result = run(cli, *QUICK, "--kernel", "5.10", "--memlock", "76K", "--json")
    assert result.status == 134
    facts = json.loads(result.stdout)
    assert facts["stdout"].startswith("nr_cpus:4\n")
    assert facts["stderr"].startswith("bpf_create_map: ")
    kept = ("sample", "outcome", "status", "errno", "pages_locked")
    assert [facts[name] for name in kept] == [NAME, "refused", 134, "EPERM", 19]


@pytest.mark.parametrize("words", [(), ("keys",), ("keys", "10")], ids=["none", "one", "two"])
def test_too_few_arguments_show_the_usage(cli, words):
    result = run(cli, "--kernel", "6.12", *words)
    assert result.status == 255
    assert result.stdout == f"Usage: {NAME} <dist-file> <lru-size> <nr-tasks>\n"


def test_a_file_without_keys(cli, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("\n")
    result = run(cli, "--kernel", "6.12", keys, "10", "1")
    assert (result.status, result.stdout) == (255, f"nr_cpus:4\n\n{keys} has no key\n")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("missing", "1", "1"), "can't read missing: No such file or directory"),
        (("f", "x", "1"), "can't parse 'x' as lru-size: expected a number from 1 on"),
        (("f", "0", "1"), "can't parse '0' as lru-size: expected a number from 1 on"),
        (("f", "1", "-1"), "can't parse '-1' as nr-tasks: expected a number from 1 on"),
        (("--dist", "x"), "can't make keys from 'x': unknown kind 'x'"),
        (("--lookups", "x"), "Invalid value for '--lookups'"),
        (("--seed", "x"), "Invalid value for '--seed'"),
        (("--kernel", "9.9"), "unknown kernel '9.9'"),
        (("--kernel", "5.10+x"), "unknown kernel '5.10+x'"),
        (("--kernel", "6.1+3"), "kernel 6.1 has no patch 3 of the series"),
        (("--cpus", "0"), "Invalid value for '--cpus'"),
        (("--memlock", "x"), "can't parse 'x' as memlock"),
        (("--memory-max", "1M"), "--memory-max needs --kernel"),
        (("--frobnicate",), "No such option"),
    ],
)
def test_bad_words(cli, words, complaint):
    kernel = () if words[0].startswith("--") else ("--kernel", "6.12")
    result = run(cli, *kernel, "--", *words) if kernel else run(cli, *words)
    assert result.status == 255
    assert complaint in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("verb", ["run", "compare"])
def test_a_sample_must_be_named_and_known(cli, verb):
    result = cli("sample", verb)
    assert result.status == 255
    assert result.stderr.startswith(f"Error: bpfctl sample {verb} needs a sample\nhint: ")
    result = cli("sample", verb, "nope")
    assert result.status == 255
    assert result.stderr.startswith("Error: no sample 'nope'\nhint: ")


@pytest.mark.parametrize("verb", ["run", "compare"])
def test_help_shows_what_a_sample_declares(cli, verb):
    text = cli.ok("sample", verb, NAME, "--help")
    for word in ("<dist-file>", "--lookups [syscall|program]", "--dist KIND", "--seed N"):
        assert word in text
    assert NAME in cli.ok("sample", verb, "--help")


# --- compare ------------------------------------------------------------------


def test_compare(cli, state):
    """Only 5.10, without the bump and with the small limit, refuses; on 5.11 no limit matters."""
    result = cli("sample", "compare", NAME, "--json")
    assert (result.status, result.stderr) == (0, "")
    runs = json.loads(result.stdout)["runs"]
    cells = {(one["kernel"], one["bump"], one["memlock"]): one for one in runs}
    assert set(cells) == {
        (kernel, bump, memlock)
        for kernel in ("5.10", "5.11")
        for bump in (False, True)
        for memlock in (64 << 10, 8 << 20)
    }
    refused = cells.pop(("5.10", False, 64 << 10))
    assert (refused["outcome"], refused["errno"], refused["pages_locked"]) == (
        "refused",
        "EPERM",
        0,
    )
    assert {one["outcome"] for one in cells.values()} == {"ok"}
    assert len({one["stdout"] for one in cells.values()}) == 1
    for (kernel, _, _), one in cells.items():
        # The largest map without a common list: 4800 elements. 5.11 rounds its two areas up.
        assert one["pages_locked"] == (108 if kernel == "5.10" else 0)
        assert (one["bytes_charged"] > 100 * 4096) is (kernel == "5.11")
    assert not state.exists()


def test_compare_prints_a_table_and_says_why(cli):
    words = ("--kernel", "5.10", "--memlock", "76K")
    lines = cli.ok("sample", "compare", NAME, *words, *QUICK).splitlines()
    assert [line.split() for line in lines[1:3]] == [
        ["5.10", "no", "76K", "refused", "EPERM", "19", "4096"],
        ["5.10", "yes", "76K", "ok", "-", "108", "4096"],
    ]
    assert lines[0].split()[:5] == ["kernel", "bump", "memlock", "outcome", "errno"]
    assert lines[3:] == [
        "",
        "5.10, no bump, 76K:",
        "  permission error while running as root; try raising 'ulimit -l'? "
        "current value: 76.0 KiB",
        "  RLIMIT_MEMLOCK of 77824 bytes: user 0 has 0 bytes locked, this asks for 81920 more; "
        "--memlock 81920 would suffice",
        "",
        "The runs that ended well printed the same.",
    ]


def test_compare_tells_kernels_apart_by_what_was_printed(cli):
    kernels = ("--kernel", "6.1", "--kernel", "6.12")
    text = cli.ok("sample", "compare", NAME, *kernels, "--memlock", "64K", *QUICK)
    assert text.endswith("\nWhat they printed differs by kernel: 6.1 | 6.12\n")


def test_compare_within_a_limited_cgroup(cli):
    words = ("--kernel", "6.1", "--memlock", "64K", "--memory-max", "100K")
    lines = cli.ok("sample", "compare", NAME, *words, *QUICK).splitlines()
    assert [line.split()[3:5] for line in lines[1:3]] == [["refused", "ENOMEM"]] * 2
    assert lines[3:] == [
        "",
        "6.1, no bump, 64K; 6.1, bump, 64K:",
        "  memory.max of /sample is 102400 bytes, 36864 are in use and 77824 more were asked for: "
        "--memory-max 114688 is the least it takes",
    ]


def test_compare_refuses_bad_words(cli):
    for words in (("--kernel", "9"), ("--memlock", "x"), ("f", "x", "y"), ("--memlock-bump",)):
        result = cli("sample", "compare", NAME, *words)
        assert (result.status, result.stdout) == (255, "")
        assert "Error: " in result.stderr


def test_compare_takes_points_of_the_series(cli):
    words = ("--kernel", "5.10+0", "--kernel", "5.10+34", "--memlock", "64K", "--json")
    runs = json.loads(cli.ok("sample", "compare", NAME, *words, *QUICK))["runs"]
    outcomes = [(one["kernel"], one["bump"], one["outcome"]) for one in runs]
    assert outcomes == [
        ("5.10+0", False, "refused"),
        ("5.10+0", True, "ok"),
        ("5.10+34", False, "ok"),
        ("5.10+34", True, "ok"),
    ]
