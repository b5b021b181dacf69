"""The simulated kernel in a file: the kernel's storage protocols kept by SQLite."""

from bpfctl.store.state import create_state, open_kernel, open_storage

__all__ = ["create_state", "open_kernel", "open_storage"]
