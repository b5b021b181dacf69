"""The page of helpers says what the declarations say."""

from __future__ import annotations

from docs.make_helpers import TARGET, text


def test_the_page_is_what_its_generator_writes() -> None:
    assert TARGET.read_text(encoding="utf-8") == "\n".join(text()) + "\n"
