"""What the operands of grammars are, for people."""

from __future__ import annotations

ABOUT = {
    "ATTACH_TYPE": "what a program is attached as, such as ingress or connect4",
    "BTF_ID": "number of a BTF object",
    "DATA": "[hex] BYTE ...: as many bytes as the map's key or value has",
    "DEV": "name of a net device",
    "DIR": "a cgroup",
    "FILE": "a file of this computer",
    "HEX": "instructions in hex digits, 8 bytes each",
    "INSN": "index of an instruction",
    "MAP_FLAGS": "flags of BPF_MAP_CREATE as a number, such as 0x1",
    "MAP_TYPE": "a map type, such as hash; 'bpfctl plugin list' has all",
    "MEMORY": "bytes in hex digits",
    "METRIC": "what is counted, such as cycles",
    "N": "a number: decimal, 0x hexadecimal or 0 octal",
    "NAME": "a name",
    "NEW_NAME": "name of the new map, at most 15 bytes",
    "PATH": "a path in the simulated bpffs, /sys/fs/bpf/...",
    "PREFIX": "what stands before each macro",
    "PROG_TYPE": "a program type or section name, such as xdp",
    "VALUE": "; the latter two where the map holds maps or programs",
    "WORD": "an object and its command",
}
