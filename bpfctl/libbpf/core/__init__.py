"""CO-RE: relocations against the types of the kernel that an object is loaded into.

``spec`` reads what a relocation is about, ``match`` finds it among the kernel's types, ``value``
says what the instruction gets, ``apply`` changes instructions. Mirrors relo_core.c of libbpf 1.5.
"""
