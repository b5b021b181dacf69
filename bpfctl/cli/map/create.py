"""``map create``: attributes from keyword and value pairs, then the pin."""

from __future__ import annotations

import os

from bpfctl.cli.app.pins import pin
from bpfctl.cli.app.select import map_fd_and_info
from bpfctl.cli.app.session import App
from bpfctl.cli.app.words import UsageExit, Words, u32
from bpfctl.errors import CommandError, KernelError
from bpfctl.uapi import BPF_OBJ_NAME_LEN, MAP_TYPES, MapCreateAttr

# Map types that the libbpf of this bpftool has names for; the kernel may know later ones.
LAST_KNOWN_TYPE = MAP_TYPES.index("arena")

# keyword: attribute and what an error message calls it; in the order in which prefixes match
_NUMBERS = {
    "key": ("key_size", "key size"),
    "value": ("value_size", "value size"),
    "entries": ("max_entries", "max entries"),
    "flags": ("map_flags", "flags"),
}
_DEV_DEPRECATED = (
    "Warning: 'bpftool map create [...] dev <ifname>' syntax is deprecated.\n"
    "Going further, please use 'offload_dev <ifname>' to request hardware offload for the map."
)


def create(app: App, words: Words) -> None:
    """Run ``map create FILE type TYPE key N value N entries N name NAME ...``.

    The map is made before the path is looked at, and goes with its descriptor if it cannot be
    pinned.
    """
    words.need(7)
    path = words.take()
    parser = _Attributes(app, words)
    attr = parser.parse()
    raise_memlock(app)
    try:
        fd = app.bpf.map_create(attr)
    except KernelError as exc:
        raise CommandError(f"map create failed: {exc.strerror}", hint=exc.hint) from exc
    app.opened(fd)
    pin(app, fd, path)
    app.out.done()


class _Attributes:
    def __init__(self, app: App, words: Words) -> None:
        self.app = app
        self.words = words
        self.attr = MapCreateAttr()
        self.named = False

    def parse(self) -> MapCreateAttr:
        """Read all keywords with their values."""
        words = self.words
        while words.left:
            words.need(2)
            self._one(words.take())
        if not self.named:
            raise CommandError("map name not specified")
        return self.attr

    def _one(self, word: str) -> None:
        if "type".startswith(word):
            self._type(self.words.take())
        elif "name".startswith(word):
            self.attr.map_name = os.fsencode(self.words.take())[: BPF_OBJ_NAME_LEN - 1]
            self.named = True
        elif self._number(word):
            pass
        elif "dev".startswith(word):
            self.app.out.info(_DEV_DEPRECATED)
            self._device(self.words.take())
        elif "offload_dev".startswith(word):
            self._device(self.words.take())
        elif "inner_map".startswith(word):
            self._inner_map()
        else:
            raise CommandError(f"unknown arg {word}")

    def _type(self, name: str) -> None:
        if self.attr.map_type:
            raise CommandError("map type already specified")
        number = find_type(name)
        if number is None:
            from bpfctl.cli.app.near import did_you_mean

            known = MAP_TYPES[1 : LAST_KNOWN_TYPE + 1]
            raise CommandError(f"unrecognized map type: {name}", hint=did_you_mean(name, known))
        self.attr.map_type = number

    def _number(self, word: str) -> bool:
        for keyword, (field, what) in _NUMBERS.items():
            if keyword.startswith(word):
                text = self.words.take()
                # A first value of 0 cannot be told from none.
                if getattr(self.attr, field):
                    raise CommandError(f"{what} already specified")
                number = u32(text)
                if number is None:
                    raise CommandError(f"can't parse {text} as {what}")
                setattr(self.attr, field, number)
                return True
        return False

    def _device(self, name: str) -> None:
        if self.attr.map_ifindex:
            raise CommandError("offload device already specified")
        ifindex = find_netdev(self.app, name)
        if not ifindex:
            raise CommandError(f"unrecognized netdevice '{name}': No such device")
        self.attr.map_ifindex = ifindex

    def _inner_map(self) -> None:
        complaint = self.words.shortage(2)
        if complaint:
            self.app.out.error(complaint)
            raise UsageExit
        self.attr.inner_map_fd = map_fd_and_info(self.app, self.words)[0]


def find_type(name: str) -> int | None:
    """Return the number of a map type: one that bpftool knows, or one from a plugin.

    :raises CommandError: the plugin that offers it is broken.
    """
    if name in MAP_TYPES:
        number = MAP_TYPES.index(name)
        return number if number <= LAST_KNOWN_TYPE else None
    from bpfctl.plugins import map_type, type_number

    return None if map_type(name) is None else type_number(name)


def find_netdev(app: App, name: str) -> int:
    """Return the interface index of a net device, 0 if there is none of that name."""
    for device in app.kernel.objects.records.find(kind="netdev", name=name):
        return int(device.priv["ifindex"])
    return 0


def raise_memlock(app: App) -> None:
    """Lift RLIMIT_MEMLOCK as bpftool does, where the kernel holds BPF objects against it.

    A limit that was asked for (``--memlock``) stays: it is there to be felt.
    """
    kernel = app.kernel
    if app.settings.memlock is None and "prog" in kernel.profile.accounting.precharged:
        try:
            kernel.setrlimit_memlock(app.bpf.pid, None, None)
        except KernelError:
            pass  # no CAP_SYS_RESOURCE: bpftool does not look at the result either
