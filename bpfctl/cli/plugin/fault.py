"""Whose fault an unexpected exception is: a third party's map type is named, with the place."""

from __future__ import annotations

from bpfctl import plugins
from bpfctl.errors import CommandError


def of_a_plugin(exc: BaseException) -> CommandError | None:
    """Return the error that names plugin, type, operation and file; None if no plugin ran."""
    from bpfctl.api import MapType

    step, where = exc.__traceback__, ""
    kind = operation = ""
    while step is not None:
        frame = step.tb_frame
        owner = frame.f_locals.get("self")
        if isinstance(owner, MapType) and owner.name not in plugins.BUILTIN:
            # The outermost method is what the kernel called, the innermost where it broke.
            operation = operation or frame.f_code.co_name
            kind = owner.name
        if kind:
            where = f"{frame.f_code.co_filename}:{step.tb_lineno}"
        step = step.tb_next
    if not kind:
        return None
    package = plugins.package_of(kind)
    return CommandError(
        f"plugin {package or kind}: {operation}() of map type {kind} failed: "
        f"{type(exc).__name__}: {exc} ({where})",
        hint=f"nothing was changed; -d shows the way there, 'bpfctl plugin check {kind}' tries all "
        "rules",
    )
