"""A simulated BPF kernel in a file, answering the commands of bpftool."""

__version__ = "0.1.0"
