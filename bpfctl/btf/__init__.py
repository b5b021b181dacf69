"""BTF: parse, build and print type information; used on both sides of bpf(2)."""
