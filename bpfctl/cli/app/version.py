"""``version`` and ``-V``: the banner of the bpftool whose commands these are."""

from __future__ import annotations

from bpfctl.cli.app.session import App
from bpfctl.cli.app.words import Words

BPFTOOL_VERSION = "7.5.0"
LIBBPF_VERSION = "1.5"
# In bpftool's order; scripts look for these words.
FEATURES = {"libbfd": False, "llvm": True, "skeletons": True, "bootstrap": False}


def version(app: App, words: Words) -> None:
    """Print the versions of bpftool and libbpf, and the features."""
    json = app.out.json
    if json is None:
        features = ", ".join(name for name, built_in in FEATURES.items() if built_in)
        app.out.put(
            f"bpftool v{BPFTOOL_VERSION}\nusing libbpf v{LIBBPF_VERSION}\nfeatures: {features}\n"
        )
        return
    json.begin_object()
    json.member("version", BPFTOOL_VERSION)
    json.member("libbpf_version", LIBBPF_VERSION)
    json.name("features")
    json.begin_object()
    for name, built_in in FEATURES.items():
        json.member(name, built_in)
    json.end_object()
    json.end_object()
