"""The BPF instruction set: encoding, opcodes and their fields, notation.

Imports nothing of the rest of bpfctl: kernel, libbpf and the command line all use it.
"""
