"""Name the packages that are kept in directories of another name; the rest is in pyproject.toml."""

from setuptools import find_namespace_packages, setup

MOVED = {
    "bpfctl_maps": "plugins/bpfctl_maps",
    "bpfctl_samples": "samples",
    "bpfctl_completions": "completions",
}


def packages() -> list[str]:
    """List bpfctl, the moved packages and the folders below them, data folders included."""
    found = find_namespace_packages(include=["bpfctl", "bpfctl.*"])
    for name, directory in MOVED.items():
        found.append(name)
        found += [
            f"{name}.{sub}"
            for sub in find_namespace_packages(directory)
            if not any(part.startswith(("_", ".")) for part in sub.split("."))
        ]
    return found


setup(packages=packages(), package_dir=MOVED)
