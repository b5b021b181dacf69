"""Who runs a command and on which state: options, environment, ``bpfctl.toml``.

Each setting comes from ``--NAME VALUE``, else ``BPFCTL_NAME``, else the key ``NAME`` of
``bpfctl.toml`` in the current directory or in the user's configuration folder.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from bpfctl.errors import CommandError

CONFIG_NAME = "bpfctl.toml"
_SUFFIXES = {"": 0, "B": 0, "K": 10, "M": 20, "G": 30, "T": 40}
# Of uapi.py, which is not needed otherwise.
RLIM_INFINITY = (1 << 64) - 1
_UNLIMITED = ("unlimited", "infinity", "max", "-1")


class Settings:
    """The settings of one command.

    ``memlock`` is in bytes, RLIM_INFINITY for no limit; ``caps`` a mask; ``observe`` names
    observer plugins. None means "not given".
    """

    __slots__ = ("as_pid", "caps", "cgroup", "memlock", "observe", "state", "uid")

    def __init__(self, given: dict[str, str]) -> None:
        lookup = _Lookup(given)
        self.state = lookup.text("state")
        self.as_pid = lookup.number("as")
        self.uid = lookup.number("uid")
        self.caps = _caps(lookup.text("caps"))
        self.cgroup = lookup.text("cgroup")
        self.observe = [word for word in (lookup.text("observe") or "").split(",") if word]
        memlock = lookup.text("memlock")
        self.memlock = None if memlock is None else parse_size(memlock, "memlock")


def _caps(text: str | None) -> int | None:
    if text is None:
        return None
    from bpfctl.cli.app.caps import parse_caps

    return parse_caps(text)


def parse_size(text: str, name: str) -> int:
    """Return bytes of ``64K``, ``8M``, ``1G``, ``4096``; ``unlimited`` is RLIM_INFINITY."""
    word = text.strip()
    if word.lower() in _UNLIMITED:
        return RLIM_INFINITY
    digits = word.rstrip("BKMGTbkmgti")
    unit = word[len(digits) :].upper().replace("I", "")
    if len(unit) == 2 and unit.endswith("B"):
        unit = unit[0]
    if not (digits.isascii() and digits.isdigit()) or unit not in _SUFFIXES:
        raise CommandError(f"can't parse '{text}' as {name}: expected bytes, 64K, 8M or unlimited")
    return min(int(digits) << _SUFFIXES[unit], RLIM_INFINITY)


class _Lookup:
    """Reads the configuration file only when option and environment leave a setting open."""

    def __init__(self, given: dict[str, str]) -> None:
        self._given = given
        self._config: dict[str, Any] | None = None

    def text(self, name: str) -> str | None:
        found = self._given.get(name)
        if found is None:
            found = os.environ.get(f"BPFCTL_{name.upper()}") or None
        if found is None:
            if self._config is None:
                self._config = load_config()
            value = self._config.get(name)
            if isinstance(value, list):
                value = ",".join(str(item) for item in value)
            found = None if value is None else str(value)
        return found

    def number(self, name: str) -> int | None:
        found = self.text(name)
        if found is None:
            return None
        if not (found.isascii() and found.isdigit()) or int(found) > 0xFFFFFFFF:
            raise CommandError(f"can't parse '{found}' as {name}: expected a number")
        return int(found)


def config_paths() -> list[str]:
    """Return where ``bpfctl.toml`` may be, the current directory first."""
    if sys.platform in ("win32", "darwin"):
        from platformdirs import user_config_dir

        folder = user_config_dir("bpfctl", appauthor=False)
    else:
        # The rule of platformdirs, without the time its import takes.
        base = os.environ.get("XDG_CONFIG_HOME", "").strip() or os.path.expanduser("~/.config")
        folder = os.path.join(base, "bpfctl")
    return [CONFIG_NAME, os.path.join(folder, CONFIG_NAME)]


def load_config() -> dict[str, Any]:
    """Return the first configuration file that exists, {} without one."""
    for path in config_paths():
        try:
            with open(path, "rb") as file:
                content = file.read()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as exc:
            raise CommandError(f"can't read {path}: {exc.strerror}") from exc
        return _parse(path, content)
    return {}


def _parse(path: str, content: bytes) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        config: dict[str, Any] = tomllib.loads(content.decode())
    except ValueError as exc:
        raise CommandError(f"can't parse {path}: {exc}") from exc
    unknown = sorted(set(config) - set(KEYS))
    if unknown:
        raise CommandError(f"{path}: unknown key '{unknown[0]}', expected one of {', '.join(KEYS)}")
    nested = [key for key, value in config.items() if isinstance(value, dict)]
    if nested:
        raise CommandError(f"{path}: '{nested[0]}' must be a plain value")
    return config


KEYS = ("state", "as", "uid", "caps", "cgroup", "memlock")
