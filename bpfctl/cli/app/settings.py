"""Who runs a command and on which state: options, environment, ``bpfctl.toml``.

Each setting comes from ``--NAME VALUE``, else ``BPFCTL_NAME``, else the key ``NAME`` of
``bpfctl.toml`` in the current directory or in the user's configuration folder.
"""

from __future__ import annotations

import os
import stat
import sys
from typing import Any

from bpfctl.errors import CommandError

CONFIG_NAME = "bpfctl.toml"
_SUFFIXES = {"": 0, "B": 0, "K": 10, "M": 20, "G": 30, "T": 40}
# Of uapi.py, which is not needed otherwise.
RLIM_INFINITY = (1 << 64) - 1
# More digits than any number of 64 bits has; Python refuses to convert some thousands.
_MAX_DIGITS = 20
# Nothing real comes near.
_MAX_CONFIG_BYTES = 1 << 16
_UNLIMITED = ("unlimited", "infinity", "max", "-1")


class Settings:
    """The settings of one command.

    ``memlock`` is in bytes, RLIM_INFINITY for no limit; ``caps`` a mask; ``observe`` names
    observer plugins, ``engine`` what runs programs. None means "not given".
    """

    __slots__ = ("as_pid", "caps", "cgroup", "engine", "memlock", "observe", "state", "uid")

    def __init__(self, given: dict[str, str]) -> None:
        lookup = _Lookup(given)
        self.state = lookup.state()
        self.as_pid = lookup.number("as")
        self.uid = lookup.number("uid")
        self.caps = _caps(lookup.text("caps"))
        self.cgroup = lookup.text("cgroup")
        self.engine = lookup.text("engine")
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
    if len(digits) > _MAX_DIGITS:
        return RLIM_INFINITY
    return min(int(digits) << _SUFFIXES[unit], RLIM_INFINITY)


class _Lookup:
    """Reads the configuration file only when option and environment leave a setting open."""

    def __init__(self, given: dict[str, str]) -> None:
        self._given = given
        self._config: dict[str, Any] | None = None
        self._config_path = ""

    def text(self, name: str) -> str | None:
        found = self._given.get(name)
        if found is None:
            found = os.environ.get(f"BPFCTL_{name.upper()}") or None
        if found is None:
            if self._config is None:
                self._config, self._config_path = load_config()
            value = self._config.get(name)
            if isinstance(value, list):
                value = ",".join(str(item) for item in value)
            found = None if value is None else str(value)
        return found

    def state(self) -> str | None:
        """Return the path of the state.

        :raises CommandError: the current directory's ``bpfctl.toml`` says another place than one
            below that directory or the user's own folder: it may be somebody else's.
        """
        found = self.text("state")
        if found is None or found in (self._given.get("state"), os.environ.get("BPFCTL_STATE")):
            return found
        if self._config_path == CONFIG_NAME and not _may_be_named(found):
            raise CommandError(
                f"{CONFIG_NAME} of this directory names a state file which is elsewhere: {found!r}",
                hint="if that is meant, say --state or set $BPFCTL_STATE",
            )
        return found

    def number(self, name: str) -> int | None:
        found = self.text(name)
        if found is None:
            return None
        digits = found.isascii() and found.isdigit() and len(found) <= _MAX_DIGITS
        if not digits or int(found) > 0xFFFFFFFF:
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


def load_config() -> tuple[dict[str, Any], str]:
    """Return the first configuration file that exists, and its path; {} and "" without one.

    One of the current directory that is none of ours must not stop a command: it is skipped,
    with a warning.
    """
    for path in config_paths():
        try:
            content = _read(path)
            if content is not None:
                return _parse(path, content), path
        except _NotOurs as exc:
            if path != CONFIG_NAME:
                raise CommandError(exc.text) from exc
            print(f"Warning: {exc.text}; it is not used", file=sys.stderr)
    return {}, ""


class _NotOurs(CommandError):
    """A file of that name cannot be read, or is of another program."""


def _read(path: str) -> bytes | None:
    """Return the contents of a file, None if there is none."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None
        with open(path, "rb") as file:
            content = file.read(_MAX_CONFIG_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        raise _NotOurs(f"can't read {path}: {exc.strerror}") from exc
    if len(content) > _MAX_CONFIG_BYTES:
        raise _NotOurs(f"can't read {path}: more than {_MAX_CONFIG_BYTES} bytes")
    return content


def _may_be_named(state: str) -> bool:
    """Tell whether a ``bpfctl.toml`` that lies around may name this state file."""
    from bpfctl.store.path import default_path

    where = os.path.realpath(state)
    folders = (os.getcwd(), os.path.dirname(default_path()))
    return any(where.startswith(os.path.realpath(folder) + os.sep) for folder in folders)


def _parse(path: str, content: bytes) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        config: dict[str, Any] = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as exc:
        why = "nested too deeply" if isinstance(exc, RecursionError) else str(exc)
        raise _NotOurs(f"can't parse {path}: {why}") from exc
    if config and not set(config) & set(KEYS):
        raise _NotOurs(f"{path} has no key of bpfctl's")
    unknown = sorted(set(config) - set(KEYS))
    if unknown:
        raise CommandError(f"{path}: unknown key '{unknown[0]}', expected one of {', '.join(KEYS)}")
    nested = [key for key, value in config.items() if isinstance(value, dict)]
    if nested:
        raise CommandError(f"{path}: '{nested[0]}' must be a plain value")
    return config


KEYS = ("state", "as", "uid", "caps", "cgroup", "memlock", "engine")
