"""The rule that commands do with a type what bpf(2) does: values, walks, ``sim check``."""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from bpfctl.conformance.lab import BOX, CPUS, Lab, attempt, demand
from bpfctl.errors import KernelError
from bpfctl.kernel.bpf.map import MapType, round_up
from bpfctl.kernel.profile import PROFILES
from bpfctl.map_values import BYTES, MAP, PERCPU, PROG

if TYPE_CHECKING:
    from bpfctl.libbpf.bpf import Bpf

PIN = "/sys/fs/bpf/subject"
# At most so many elements go through the command line.
ELEMENTS = 3


def commands(cls: type[MapType]) -> None:
    """Bpfctl's commands store, find and show elements as bpf(2) does, and the state is sound."""
    offered = [profile for profile in PROFILES if _offered(cls, profile)]
    for profile in dict.fromkeys(offered[:1] + offered[-1:]):
        with tempfile.TemporaryDirectory() as folder:
            _Session(cls, profile, os.path.join(folder, "state.db")).run()


def _offered(cls: type[MapType], profile: str) -> bool:
    with Lab.boot(cls, profile) as lab:
        return lab.offered


class _Session:
    """One state file, and a pinned map of the type in it."""

    def __init__(self, cls: type[MapType], profile: str, path: str) -> None:
        self.cls = cls
        self.profile = profile
        self.path = path

    def run(self) -> None:
        words = self._set_up()
        self._call("map", "show", "pinned", PIN)
        for taken, key, value in words:
            argv = ("map", "update", "pinned", PIN, *key, *value)
            if taken:
                self._call(*argv)
            else:
                self._call(*argv, any_status=True)
        self._demand_same_elements()
        self._demand_sound("after updates and dumps")
        for _, key, _ in words:
            self._call("map", "delete", "pinned", PIN, *key, any_status=True)
        self._demand_sound("after deletes")
        text = f"{self.path}.txt"
        self._call("sim", "export", text)
        self._call("sim", "import", "--force", text)
        self._demand_sound("after export and import")
        self._call("sim", "rm", PIN)
        self._demand_sound("without the map")

    # --- what is there before the first command -------------------------------

    def _set_up(self) -> list[tuple[bool, list[str], list[str]]]:
        """Make and pin the example map; return keys and values as words, where words will do.

        The first of each is whether bpf(2) takes the element, tried on another map of the type.
        """
        from bpfctl.kernel.config import Config
        from bpfctl.store.renew import new_state

        new_state(self.path, Config(kernel=self.profile, possible_cpus=CPUS))
        with self._lab() as lab:
            lab.kernel.memcg.create(BOX)
            # Left alive: descriptors of what elements refer to are the task's.
            task = lab.kernel.spawn("conformance", cgroup=BOX, memlock=None)
            lab.bpf.pid = task.pid
            fd = lab.create()
            lab.bpf.obj_pin(fd, PIN)
            elements = lab.elements(min(lab.room, ELEMENTS)) if self.cls.example.writable else []
            by_words = self.cls.values in (MAP, PROG) or (
                self.cls.values in (BYTES, PERCPU) and self.cls.example.elements is None
            )
            if by_words:
                fd = lab.create()
            taken = [
                attempt(lab.bpf.map_update_elem, fd, key, value) is None for key, value in elements
            ]
            if not by_words:
                return []
            return [
                (ok, _key_words(key), self._value_words(lab.bpf, number, value))
                for number, (ok, (key, value)) in enumerate(zip(taken, elements, strict=True))
            ]

    def _value_words(self, bpf: Bpf, number: int, value: bytes) -> list[str]:
        """Return a value as words; what it is a descriptor of is pinned, so that it has a name."""
        if self.cls.values in (MAP, PROG):
            path = f"/sys/fs/bpf/held_{number}"
            bpf.obj_pin(int.from_bytes(value, "little"), path)
            return ["value", "pinned", path]
        size = self.cls.example.value_size
        return ["value", "hex", *(f"{byte:02x}" for byte in value[:size])]

    @contextmanager
    def _lab(self) -> Iterator[Lab]:
        from bpfctl.libbpf.bpf import Bpf
        from bpfctl.store import open_kernel

        with open_kernel(self.path) as kernel:
            bpf = Bpf(kernel, kernel.start_command(memlock=None))
            command = bpf.pid
            yield Lab(self.cls, self.profile, None, None, kernel, bpf)  # type: ignore[arg-type]
            kernel.exit_task(command)

    # --- comparisons -----------------------------------------------------------

    def _demand_same_elements(self) -> None:
        """Compare a dump and single lookups with what bpf(2) finds."""
        expected = self._elements()
        dumped = self._json("map", "dump", "pinned", PIN, any_status=True)
        if not isinstance(dumped, list):
            demand(not expected, f"{self.profile}: 'map dump' shows no elements, there are some")
            return
        shown = {_bytes_of(item["key"]): item for item in dumped if "error" not in _value(item)}
        demand(
            set(shown) == set(expected),
            f"{self.profile}: 'map dump' has {len(shown)} elements, bpf(2) finds {len(expected)}",
        )
        for key, value in expected.items():
            found = self._json("map", "lookup", "pinned", PIN, *_key_words(key or None))
            for how, item in (("dump", shown[key]), ("lookup", found)):
                demand(
                    self._shown_value(item) == value,
                    f"{self.profile}: 'map {how}' shows {key.hex()} as {item}, not {value.hex()}",
                )

    def _elements(self) -> dict[bytes, bytes]:
        """Walk the map and look every key up."""
        found: dict[bytes, bytes] = {}
        with self._lab() as lab:
            fd = lab.bpf.obj_get(PIN)
            key: Any = None
            while True:
                key = attempt(lab.bpf.map_get_next_key, fd, key)
                if isinstance(key, Exception) or key in found:
                    return found
                value = attempt(lab.bpf.map_lookup_elem, fd, key)
                if not isinstance(value, KernelError):
                    found[key] = value

    def _shown_value(self, item: Any) -> bytes:
        """Return the bytes that bpf(2) gives for what a command shows."""
        if self.cls.values != PERCPU:
            return _bytes_of(item["value"])
        size = self.cls.example.value_size
        slots = [_bytes_of(slot["value"]) for slot in item["values"]]
        demand(
            len(slots) == CPUS and all(len(slot) == size for slot in slots),
            f"{self.profile}: a command shows {len(slots)} slots of a per-CPU value: {item}",
        )
        return b"".join(slot.ljust(round_up(size, 8), b"\0") for slot in slots)

    def _demand_sound(self, when: str) -> None:
        text = self._call("sim", "check", any_status=True)
        demand(text == "ok\n", f"{self.profile}: 'sim check' {when}: {text.strip()}")

    # --- commands ----------------------------------------------------------------

    def _call(self, *argv: str, any_status: bool = False) -> str:
        """Run a command in this process; return what it printed."""
        status, out, err = _run(["--state", self.path, "--memlock", "unlimited", *argv])
        demand(
            "internal error" not in err and (any_status or status == 0),
            f"{self.profile}: 'bpfctl {' '.join(argv)}' has status {status}: {err or out}".strip(),
        )
        return out

    def _json(self, *argv: str, any_status: bool = False) -> Any:
        text = self._call("-j", *argv, any_status=any_status)
        try:
            return json.loads(text)
        except ValueError:
            demand(False, f"{self.profile}: 'bpfctl -j {' '.join(argv)}' is not JSON: {text!r}")


def _run(argv: list[str]) -> tuple[int, str, str]:
    # The suite stands below the command line, and types what a person would.
    main = import_module("bpfctl.cli.app.main").main
    saved = sys.stdout, sys.stderr
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", newline="") for _ in range(2))
    sys.stdout, sys.stderr = out, err
    try:
        status = main(argv)
    except SystemExit as exc:
        status = exc.code if isinstance(exc.code, int) else 1
    finally:
        sys.stdout, sys.stderr = saved
    texts = []
    for stream in (out, err):
        stream.flush()
        stream.seek(0)
        texts.append(stream.read())
    return int(status or 0), texts[0], texts[1]


def _key_words(key: bytes | None) -> list[str]:
    return ["key", "hex", *(f"{byte:02x}" for byte in key)] if key else []


def _value(item: Any) -> Any:
    return item.get("value", {}) if isinstance(item.get("value"), dict) else {}


def _bytes_of(words: list[str]) -> bytes:
    return bytes(int(word, 16) for word in words)
