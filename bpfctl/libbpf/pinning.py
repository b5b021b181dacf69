"""Pinning what an object holds: each program and each map under its name in a directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.errors import E, KernelError
from bpfctl.libbpf.bpf import Bpf
from bpfctl.libbpf.paths import absolute
from bpfctl.libbpf.steps import make_parent_dir

if TYPE_CHECKING:
    from bpfctl.libbpf.load import LoadedMap, Loader

def pin_programs(loader: Loader, directory: str) -> None:
    """Pin every program in ``directory``, or none (bpf_object__pin_programs).

    :raises KernelError: after a warning.
    """
    done: list[str] = []
    try:
        for program in loader.programs:
            path = f"{directory}/{program.name}"
            label = f"prog '{program.name}'"
            if program.fd < 0:
                loader.warn(f"{label}: can't pin program that wasn't loaded")
                raise KernelError(E.INVAL, "not loaded")
            make_parent_dir(loader.bpf, path, loader.warn)
            try:
                loader.bpf.obj_pin(program.fd, absolute(path))
            except KernelError as exc:
                loader.warn(f"{label}: failed to pin at '{path}': {exc.strerror}")
                raise
            done.append(path)
    except KernelError:
        unpin(loader.bpf, done)
        raise


def unpin_programs(loader: Loader, directory: str) -> None:
    """Undo :func:`pin_programs`."""
    unpin(loader.bpf, [f"{directory}/{program.name}" for program in loader.programs])


def unpin(bpf: Bpf, paths: list[str]) -> None:
    """Remove pins, the latest first; some may be gone already."""
    for path in reversed(paths):
        try:
            bpf.kernel.unlink(absolute(path))
        except KernelError:
            pass


def pin_maps(loader: Loader, directory: str) -> None:
    """Pin every map in ``directory``, or none (bpf_object__pin_maps).

    :raises KernelError: after a warning.
    """
    done: list[LoadedMap] = []
    try:
        for made in loader.maps:
            if made.spec.autocreate:
                # bpffs has no dots in names.
                _pin_map(loader, made, f"{directory}/{made.name}".replace(".", "_"))
                done.append(made)
    except KernelError:
        unpin(loader.bpf, [made.pin_path for made in done])
        raise


def _pin_map(loader: Loader, made: LoadedMap, path: str) -> None:
    if made.pin_path and made.pin_path != path:
        loader.warn(
            f"map '{made.name}' already has pin path '{made.pin_path}' different from '{path}'"
        )
        raise KernelError(E.INVAL, path)
    if made.pinned:
        return
    try:
        make_parent_dir(loader.bpf, path, loader.warn)
        loader.bpf.obj_pin(made.fd, absolute(path))
    except KernelError as exc:
        loader.warn(f"failed to pin map: {exc.strerror}")
        raise
    made.pin_path, made.pinned = path, True
