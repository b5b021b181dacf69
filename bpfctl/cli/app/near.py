"""Did you mean...? Words that are near to what was typed."""

from __future__ import annotations

from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a hint with up to three known words that look like ``word``, "" if none does."""
    from difflib import get_close_matches

    # Two letters that changed places are the commonest slip, and a short word has few others.
    found = get_close_matches(word.lower(), list(known), n=3, cutoff=0.6)
    if not found:
        return ""
    *rest, last = [f"'{name}'" for name in found]
    return f"did you mean {' or '.join(filter(None, (', '.join(rest), last)))}?"
