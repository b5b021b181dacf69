"""The machine that runs programs: one memory, one table of semantics, several engines.

``arena`` is the memory, ``resident`` the maps whose values live in it, ``semantics`` what the
operations mean, ``interp`` and the other engines what runs them, ``machine`` what belongs to a
kernel, and ``runtime`` what a helper sees of one run.
"""
