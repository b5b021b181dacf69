"""``bpfctl check``."""
