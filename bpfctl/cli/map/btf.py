"""Map elements printed by their BTF types."""

from __future__ import annotations

from bpfctl.btf.format import Object, Raw, Tree, format_value
from bpfctl.btf.parse import Btf, parse_btf
from bpfctl.btf.types import BtfError
from bpfctl.cli.app.out import JsonWriter
from bpfctl.cli.app.session import App
from bpfctl.cli.map.printing import write_per_cpu
from bpfctl.errors import CommandError, KernelError
from bpfctl.uapi import BtfInfo, MapInfo


class Format:
    """The key and value types of one map."""

    def __init__(self, btf: Btf, key_type: int, value_type: int) -> None:
        self.btf = btf
        self.key_type = key_type
        self.value_type = value_type

    @classmethod
    def of_map(cls, app: App, info: MapInfo) -> Format:
        """Read the types of a map.

        :raises CommandError: the BTF cannot be had.
        """
        try:
            fd = app.bpf.btf_get_fd_by_id(info.btf_id)
            app.opened(fd)
            found = app.bpf.obj_info(fd)
            if not isinstance(found, BtfInfo):
                raise CommandError("failed to get btf")
            btf = parse_btf(found.btf)
        except (KernelError, BtfError) as exc:
            raise CommandError("failed to get btf") from exc
        return cls(btf, info.btf_key_type_id, info.btf_value_type_id)

    def write(self, json: JsonWriter, key: bytes, values: bytes | list[bytes], plain: bool) -> None:
        """Write an object with ``key`` (if it has a type) and ``value``, or ``values`` per CPU.

        A type without a text form ends the object early.
        """
        json.begin_object()
        going = True
        if self.key_type:
            json.name("key")
            going = self._member(json, self.key_type, key, plain)
        if going and isinstance(values, list):
            write_per_cpu(
                json, values, lambda slot: self._member(json, self.value_type, slot, plain)
            )
        elif going and isinstance(values, bytes):
            json.name("value")
            self._member(json, self.value_type, values, plain)
        json.end_object()

    def _member(self, json: JsonWriter, type_id: int, data: bytes, plain: bool) -> bool:
        try:
            made = format_value(self.btf, type_id, data, plain)
        except BtfError as exc:
            json.string(f"({exc.reason})")
            return False
        write_tree(json, made.tree)
        return made.complete


def write_tree(json: JsonWriter, tree: Tree) -> None:
    """Write a formatted BTF value."""
    if isinstance(tree, Object):
        json.begin_object()
        for name, value in tree.members:
            json.name(name)
            write_tree(json, value)
        json.end_object()
    elif isinstance(tree, list):
        json.begin_array()
        for value in tree:
            write_tree(json, value)
        json.end_array()
    elif isinstance(tree, Raw):
        json.raw(tree.text)
    elif isinstance(tree, bool):
        json.boolean(tree)
    elif isinstance(tree, int):
        json.number(tree)
    else:
        json.string(tree)
