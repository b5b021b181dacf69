"""`bpfctl cost` as people and scripts use it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from bpfctl.kernel.profile import PROFILES
from unit.libbpf.objects import OBJECTS

HASH = "type=hash,name=flows,key=8,value=64,entries=1000,flags=no_prealloc"
ARRAY = "type=array,name=config,value=100,entries=100"
DOCS = Path(__file__).resolve().parents[2] / "docs" / "cost.md"


def data(cli: Any, *argv: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cli("cost", *argv, "--json").stdout)
    return found


@pytest.mark.parametrize(
    ("limits", "status"),
    [
        ((), 0),
        (("--memory-max", "1G", "--memlock", "1G"), 0),
        (("--memory-max", "64K"), 1),
        (("--memlock", "64K"), 1),
        (("--memlock", "64K", "--kernel", "6.1"), 0),
        (("--memlock", "64K", "--memlock", "1G"), 1),
        (("--memory-max", "max"), 0),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value),
)
def test_exit_status(cli: Any, limits: tuple[str, ...], status: int) -> None:
    found = cli("cost", "--map", HASH, *limits)
    assert found.status == status, found
    assert data(cli, "--map", HASH, *limits)["holds"] is (status == 0)


def test_refused_objects_and_limits(cli: Any) -> None:
    bloom = "type=bloom_filter,value=8,entries=100"
    assert cli("cost", "--map", bloom).status == 0
    assert "5.10 has no map type bloom_filter" in cli("cost", "--map", bloom).stdout
    assert cli("cost", "--map", bloom, "--memory-max", "1M").status == 2
    assert cli("cost", "--map", bloom, "--map", HASH, "--memory-max", "4K").status == 1
    assert data(cli, "--map", bloom, "--memory-max", "1M")["holds"] is None


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (("--map", "x"), "--map x: 'x' is not NAME=VALUE"),
        (("/dev/null",), "/dev/null: "),
        (("no.o",), "no.o: No such file or directory"),
        (("no.toml",), "no.toml: No such file or directory"),
        (("--map", ARRAY, "--kernel", "4.9"), "unknown kernel '4.9'"),
        (("--map", ARRAY, "--cpus", "x"), "--cpus x"),
        (("--map", ARRAY, "--fill", "x"), "--fill x"),
        (("--map", ARRAY, "--memlock", "x"), "can't parse 'x' as memlock"),
        (("--map", ARRAY, "--memory-max", "x"), "can't parse 'x' as memory.max"),
        (("--map", ARRAY, "--page-size", "5"), "page_size must be"),
        (("--map", ARRAY, "--libbpf", "one"), "--libbpf one"),
        (("--map", ARRAY, "--set", "a.b=1"), "no map 'a'"),
        (("--map", ARRAY, "--set", "config.speed=1"), "no attribute 'speed'"),
        (("--map", ARRAY, "--html", "/no/such/folder/x.html"), "can't write /no/such"),
        (("--map", f"{ARRAY},copies=200000"), "are too many"),
        (("--map", ARRAY, "--nonsense"), "No such option"),
        ((), "there is nothing to price"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_input(cli: Any, argv: tuple[str, ...], text: str) -> None:
    found = cli("cost", *argv)
    assert found.status == 255
    assert text in found.stderr
    assert "Traceback" not in found.stderr
    assert "error" in json.loads(cli("cost", *argv, "--json").stdout)


def test_truncated_and_hostile_files_are_refused(cli: Any, tmp_path: Path) -> None:
    whole = (OBJECTS / "maps.bpf.o").read_bytes()
    for size in range(0, len(whole), 97):
        cut = tmp_path / "cut.o"
        cut.write_bytes(whole[:size])
        found = cli("cost", cut, "--kernel", "6.18")
        assert found.status == 255, size
        assert str(cut) in found.stderr


def test_the_figures_of_a_map(cli: Any) -> None:
    found = data(cli, "--map", "type=array,value=256,entries=256", "--kernel", "5.10,6.18")
    assert found["schema"] == 1
    old, new = found["machines"]
    assert (old["kernel"], old["cpus"], new["kernel"]) == ("5.10", 4, "6.18")
    then, now = (machine["maps"][0] for machine in (old, new))
    assert then["memlock_enough"] == 69632
    assert then["at"]["created"]["rlimit_pages"] == 17
    assert then["at"]["created"]["charged"] == 0
    assert then["at"]["created"]["uncharged"] == 69632
    assert now["at"]["created"]["memlock"] == 65848
    assert now["at"]["created"]["charged"] == now["at"]["full"]["charged"] == 69632
    assert now["memlock_enough"] == 0
    assert new["total"]["full"]["charged"] == 69632 + now["descriptor"]


def test_totals_are_the_sum(cli: Any) -> None:
    maps = ("--map", f"{HASH},copies=3", "--map", "type=percpu_array,value=8,entries=50")
    machine = data(cli, OBJECTS / "maps.bpf.o", *maps, "--kernel", "6.12")["machines"][0]
    for level in ("created", "empty", "full"):
        total = machine["total"][level]
        for name in ("memlock", "uncharged", "charged", "slab", "vmalloc", "percpu", "pages"):
            parts = sum(
                each["copies"] * each["at"][level][name]
                for each in (*machine["maps"], *machine["programs"])
            )
            apart = total["descriptors"] if name in ("charged", "slab") else 0
            assert total[name] == parts + apart, (level, name)


def test_breaks_are_exact(cli: Any) -> None:
    found = data(
        cli, "--map", "type=array,name=first,value=8,entries=4",
        "--map", f"{HASH},copies=2", "--kernel", "6.12", "--memory-max", "128K",
    )  # fmt: skip
    broken = found["machines"][0]["limits"][0]["breaks"]
    assert (broken["what"], broken["name"], broken["position"], broken["copy"]) == (
        "fill", "flows", 2, 1,
    )  # fmt: skip
    assert broken["errno"] == "ENOMEM"
    assert 0 < broken["element"] <= broken["entries"] == 1000


def test_settings_change_objects(cli: Any) -> None:
    path = OBJECTS / "maps.bpf.o"
    name = data(cli, path)["machines"][0]["maps"][0]["name"]
    changed = data(cli, path, "--set", f"{name}.max_entries=12345")["machines"][0]["maps"][0]
    assert changed["max_entries"] == 12345


def test_programs_are_priced(cli: Any) -> None:
    machine = data(cli, OBJECTS / "sub.bpf.o", "--kernel", "6.12")["machines"][0]
    assert machine["programs"]
    for each in machine["programs"]:
        assert each["refused"] is None
        assert each["insns"] > 0
        assert each["at"]["created"]["vmalloc"] >= 4096
        assert each["at"]["created"]["memlock"] % 4096 == 0


def test_the_maps_of_the_state(cli: Any) -> None:
    cli.ok("sim", "new", "--kernel", "6.1", "--cpus", "2")
    words = ["type", "hash", "key", "4", "value", "8", "entries", "100", "name", "h", "flags", "1"]
    cli.ok("map", "create", "/sys/fs/bpf/h", *words)
    for number in range(5):
        key, value = [str(number), "0", "0", "0"], ["0"] * 8
        cli.ok("map", "update", "pinned", "/sys/fs/bpf/h", "key", *key, "value", *value)
    machine = data(cli)["machines"][0]
    assert (machine["kernel"], machine["cpus"]) == ("6.1", 2)
    at = machine["maps"][0]["at"]
    assert (at["now"]["entries"], at["full"]["entries"]) == (5, 100)
    shown = json.loads(cli.ok("-j", "map", "show"))[0]
    assert at["now"]["memlock"] == shown["bytes_memlock"]
    before = json.loads(cli.ok("-j", "map", "show"))
    cli.ok("cost", "--kernel", "all")
    assert json.loads(cli.ok("-j", "map", "show")) == before


def test_the_state_with_templates_programs_and_types(cli: Any, state: Path) -> None:
    from bpfctl.libbpf.bpf import Bpf
    from bpfctl.libbpf.object import open_object
    from bpfctl.store import open_kernel

    cli.ok("sim", "new", "--kernel", "6.12")
    found = open_object(str(OBJECTS / "nest.bpf.o"))
    with open_kernel(str(state)) as kernel:
        bpf = Bpf(kernel, kernel.spawn("keeper").pid)
        assert found.btf is not None
        btf_fd = bpf.btf_load(found.btf.raw)
        for spec in found.maps:
            made = spec.resolve(4, 4096)
            inner = bpf.map_create(made.inner.create_attr()) if made.inner else 0
            bpf.map_create(made.create_attr(btf_fd, inner))
    costs = data(cli, "--kernel", "6.12")["machines"][0]
    shown = json.loads(cli.ok("-j", "map", "show"))
    assert all(each["refused"] is None for each in costs["maps"])
    ours = sorted((m["name"][:15], m["at"]["now"]["memlock"]) for m in costs["maps"])
    assert ours == sorted((m.get("name", ""), m["bytes_memlock"]) for m in shown)


@pytest.mark.parametrize("page_size", [4096, 65536])
@pytest.mark.parametrize("name", ["maps", "globals", "kinds"])
def test_what_is_priced_is_what_is_loaded(cli: Any, name: str, page_size: int) -> None:
    path = str(OBJECTS / f"{name}.bpf.o")
    cli.ok("sim", "new", "--kernel", "6.12", "--page-size", page_size)
    cli.ok("prog", "loadall", path, "/sys/fs/bpf/all")
    found = json.loads(cli.ok("-j", "map", "show"))
    priced = data(cli, "--kernel", "6.12", "--page-size", page_size, path)["machines"][0]
    assert all(each["refused"] is None for each in (*priced["maps"], *priced["programs"]))
    # Maps that no program uses are gone when the command has ended.
    loaded = {each.get("name", ""): each["bytes_memlock"] for each in found}
    costs = {each["name"][:15]: each["at"]["created"]["memlock"] for each in priced["maps"]}
    assert loaded == {name: costs[name] for name in loaded}


def test_json_is_the_same_with_either_option(cli: Any) -> None:
    argv = ("cost", "--map", ARRAY)
    assert cli.ok("-j", *argv) == cli.ok(*argv, "--json")
    assert json.loads(cli.ok("-p", *argv)) == json.loads(cli.ok("-j", *argv))


def test_unprivileged_creators_pay_for_a_power_of_two(cli: Any) -> None:
    argv = ("--map", "type=array,value=4096,entries=10", "--kernel", "5.10")
    assert data(cli, *argv)["machines"][0]["memlock_enough"] == 45056
    weak = json.loads(cli.ok("--caps", "bpf", "--uid", "7", "cost", *argv, "--json"))
    assert weak["machines"][0]["memlock_enough"] == 69632


def test_a_patch_of_the_series_is_a_kernel(cli: Any) -> None:
    machines = data(cli, "--map", ARRAY, "--kernel", "5.10+17", "--kernel", "5.10+18")["machines"]
    assert [machine["patch"] for machine in machines] == [17, 18]
    assert [machine["memlock_enough"] > 0 for machine in machines] == [True, False]


def test_plan_choices_hold_and_options_win(cli: Any, tmp_path: Path) -> None:
    plan = tmp_path / "p.toml"
    plan.write_text(
        'kernels = ["6.1"]\ncpus = 2\nfill = "7"\nmemory_max = "4K"\n'
        '[[map]]\ntype = "hash"\nkey = 4\nvalue = 8\nentries = 100\n'
    )
    found = data(cli, plan)
    machine = found["machines"][0]
    assert (machine["kernel"], machine["cpus"], found["holds"]) == ("6.1", 2, False)
    assert list(machine["maps"][0]["at"]) == ["created", "7"]
    machine = data(cli, plan, "--kernel", "6.12", "--cpus", "3")["machines"][0]
    assert (machine["kernel"], machine["cpus"]) == ("6.12", 3)


def test_the_plan_in_the_documentation(cli: Any, tmp_path: Path) -> None:
    text = DOCS.read_text(encoding="utf-8")
    blocks = re.findall(r"```toml\n(.*?)```", text, re.S)
    assert blocks
    for block in blocks:
        (tmp_path / "plan.toml").write_text(
            block.replace("build/xdp.bpf.o", str(OBJECTS / "maps.bpf.o"))
        )
        found = cli("cost", tmp_path / "plan.toml", "--json")
        assert found.status in (0, 1), found
        assert not json.loads(found.stdout)["machines"][0]["maps"][0]["refused"]


def test_json_fields_are_documented(cli: Any) -> None:
    text = DOCS.read_text(encoding="utf-8")
    found = data(cli, OBJECTS / "maps.bpf.o", "--memory-max", "4K")

    def names(value: Any, where: str = "") -> set[str]:
        if isinstance(value, list):
            return set().union(*(names(each, where) for each in value))
        if not isinstance(value, dict):
            return set()
        inside = set().union(*(names(each, key) for key, each in value.items()))
        return inside if where in ("at", "total") else inside | set(value)

    figures = set(found["machines"][0]["maps"][0]["at"]["created"])
    missing = {name for name in names(found) | figures if f"`{name}`" not in text}
    assert not missing


# --- tables -------------------------------------------------------------------------


def test_few_machines_have_a_table_each(cli: Any) -> None:
    out = cli.ok("cost", "--map", HASH, "--kernel", "6.1,6.12", "--bytes")
    assert out.count("possible CPUs\n") == 2
    assert re.search(r"^flows +hash +1000 ", out, re.M)
    assert re.search(r"^total ", out, re.M)


def test_many_machines_have_a_line_each(cli: Any) -> None:
    out = cli.ok("cost", "--map", HASH, "--kernel", "all", "--cpus", "1..16", "--memlock", "1G")
    lines = re.findall(r"^(\d+\.\d+)( \(not measured\))? +\d+ ", out, re.M)
    assert len(lines) == 5 * len(PROFILES)
    assert {name for name, caveat in lines if caveat} == {"5.11", "5.15", "6.6"}
    assert "5.10/1  5.10/16" in out


def test_several_sources_are_told_apart(cli: Any) -> None:
    path = OBJECTS / "maps.bpf.o"
    out = cli.ok("cost", path, "--map", ARRAY, "--kernel", "6.18")
    assert re.search(r"^from +name ", out, re.M)


# --- the report ------------------------------------------------------------------------


class Page(HTMLParser):
    """Notes elements, checks that they are closed in order, and what they refer to."""

    VOID = ("meta", "line", "rect", "circle", "polyline", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.refers: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        self._attributes(attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self._attributes(attrs)

    def _attributes(self, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src", "xlink:href", "srcset", "action"):
                self.refers.append(str(value))
            if name == "id":
                self.ids.append(str(value))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_the_report_stands_alone(cli: Any, tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    odd = "type=array,name=a.b_c,value=8,entries=3"
    cli(
        "cost",
        "--map",
        HASH,
        "--map",
        odd,
        OBJECTS / "maps.bpf.o",
        "--html",
        path,
        "--kernel",
        "all",
        "--memory-max",
        "64K",
    )
    text = path.read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert page.open == []
    assert page.refers == []
    assert len(page.ids) == len(set(page.ids))
    assert not re.search(r"https?://|@import|url\(|<script", text)
    # A bar chart a kernel, and two charts of each growth, each for wide and for narrow pages.
    assert page.seen.count("svg") == 2 * (len(PROFILES) + 4)
    assert page.seen.count("desc") == page.seen.count("svg")
    assert "prefers-color-scheme: dark" in text
    assert "nan" not in text.lower().split("</style>")[1].split()


def test_the_report_of_one_small_map(cli: Any, tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    bloom = "type=bloom_filter,value=1,entries=1"
    assert cli("cost", "--map", bloom, "--kernel", "5.10", "--html", path).status == 3
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    assert page.open == []


@pytest.mark.needs("chromium")
def test_the_report_in_a_browser(cli: Any, tmp_path: Path) -> None:
    path, shot = tmp_path / "r.html", tmp_path / "r.png"
    cli.ok("cost", "--map", HASH, "--map", ARRAY, "--html", path)
    run = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--screenshot={shot}",
         f"--user-data-dir={tmp_path}/profile", "--enable-logging=stderr", path.as_uri()],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert shot.stat().st_size > 10_000
    assert "CONSOLE" not in run.stderr


# --- quick ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "absent"),
    [
        (("--map", HASH), ("elftools", "tabulate", "sqlite3", "json", "bpfctl.cost.html")),
        (("--map", HASH, "--json"), ("elftools", "tabulate", "sqlite3", "bpfctl.cost.table")),
    ],
    ids=["table", "json"],
)
def test_nothing_is_imported_for_nothing(argv: tuple[str, ...], absent: tuple[str, ...]) -> None:
    script = (
        "import sys; from bpfctl.cli.app.main import main; status = main(sys.argv[1:]); "
        "sys.stderr.write(' '.join(sys.modules)); sys.exit(status)"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, "cost", *argv], capture_output=True, text=True,
        env={**os.environ, "BPFCTL_STATE": os.devnull},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert not set(absent) & set(run.stderr.split())
