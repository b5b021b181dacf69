"""Name the packages that are kept in directories of another name, and compile the kernel profiles.

The rest is in pyproject.toml.
"""

import os
import sys

from setuptools import find_namespace_packages, setup
from setuptools.command.build_py import build_py

HERE = os.path.dirname(os.path.abspath(__file__))

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


class BuildWithProfiles(build_py):
    """Build, and put every kernel profile beside its reader as a module."""

    def run(self) -> None:
        super().run()
        if getattr(self, "editable_mode", False):
            return
        sys.path.insert(0, HERE)
        from bpfctl.kernel import profile

        for name in profile.PROFILES:
            path = os.path.join(
                self.build_lib, "bpfctl", "kernel", f"{profile.compiled_name(name)}.py"
            )
            with open(path, "w", encoding="utf-8", newline="\n") as file:
                file.write(profile.compiled_text(name))


setup(
    packages=packages(),
    package_dir=MOVED,
    data_files=[("share/man/man1", ["man/bpfctl.1"])],
    cmdclass={"build_py": BuildWithProfiles},
)
