"""Templates of ``bpfctl plugin new``."""
