"""Samples: each folder has a BPF program in C, its object file and the user half in Python."""
