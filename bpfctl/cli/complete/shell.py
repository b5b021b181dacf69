"""The shells' side of completion: their scripts, and how lines and items pass to and fro.

The scripts speak Click's protocol, with two differences. ``COMP_WORDS`` may be the command line
as it was typed, up to the cursor; ``COMP_CWORD`` is empty then. ``COMP_WORD`` is what bash calls
the current word, which may be only the end of one: it breaks words at ``=`` and ``:``.
"""

from __future__ import annotations

import os
import re
from typing import Any, ClassVar, NamedTuple

from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
)

from bpfctl.cli.app.main import COMPLETE_VARIABLE
from bpfctl.cli.complete.answer import PROGRAM, complete

_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_BLANKS = " \t\n"
# What bash would not take as part of a word.
_SPECIAL = frozenset(" \t\n'\"\\$`&;|<>()*?[]{}!")

_BASH = """\
# bash completion for %(prog_name)s, as printed by "%(prog_name)s completion bash".

%(complete_func)s() {
    local IFS=$'\\n' item
    COMPREPLY=()
    for item in $(set -f; env COMP_WORDS="${COMP_LINE:0:COMP_POINT}" COMP_WORD="$2" COMP_CWORD= \\
        %(complete_var)s=bash_complete "${1/#\\~/$HOME}" 2>/dev/null); do
        case $item in
            plain,*) COMPREPLY+=("${item#*,}") ;;
            part,*)
                COMPREPLY+=("${item#*,}")
                compopt -o nospace 2>/dev/null
                ;;
            file,*) compopt -o default 2>/dev/null ;;
            dir,*) compopt -o dirnames 2>/dev/null ;;
        esac
    done
}

# Versions before 4.4 sort whatever they get.
complete -o nosort -F %(complete_func)s %(prog_name)s 2>/dev/null ||
    complete -F %(complete_func)s %(prog_name)s
"""

_ZSH = """\
#compdef %(prog_name)s
# zsh completion for %(prog_name)s, as printed by "%(prog_name)s completion zsh".

%(complete_func)s() {
    local kind value about program=${(Q)words[1]}
    local -a response words_plain words_part about_plain about_part
    [[ $program == '~'* ]] && program=$HOME${program#\\~}
    response=("${(@f)$(
        env COMP_WORDS="${(j: :)words[1,CURRENT-1]} $QIPREFIX$IPREFIX$PREFIX" COMP_CWORD= \\
            %(complete_var)s=zsh_complete $program 2>/dev/null
    )}")
    for kind value about in $response; do
        case $kind in
            plain) [[ $about == _ ]] && words_plain+=($value) || about_plain+=($value:$about) ;;
            part) [[ $about == _ ]] && words_part+=($value) || about_part+=($value:$about) ;;
            file|dir)
                [[ $PREFIX == -*=* ]] && compset -P '*='
                if [[ $kind == dir ]]; then _files -/; else _files; fi
                return
                ;;
        esac
    done
    (( $#about_plain )) && _describe -V values about_plain -U
    (( $#about_part )) && _describe -V values about_part -U -S ''
    (( $#words_plain )) && compadd -U -V words -a words_plain
    (( $#words_part )) && compadd -U -V words -S '' -a words_part
    (( $#about_plain + $#about_part + $#words_plain + $#words_part ))
}

if [[ $funcstack[1] == _%(prog_name)s ]]; then
    # Found in $fpath: this file is the body of the function of its name, and runs every time.
    %(complete_func)s "$@"
else
    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
    compdef %(complete_func)s %(prog_name)s
fi
"""

_FISH = """\
# fish completion for %(prog_name)s, as printed by "%(prog_name)s completion fish".

function %(complete_func)s
    set -l line (commandline -cp | string collect)
    set -l program (commandline -cpo | string match -rv '^\\w+=')[1]
    set program (string replace -r '^~' $HOME -- $program)
    for item in (env COMP_WORDS=$line COMP_CWORD= \\
            %(complete_var)s=fish_complete $program 2>/dev/null)
        set -l parts (string split -m 1 , -- $item)
        # The shell's own paths are those behind the option of a word --option=path.
        set -l option (string match -r -- '^-[^=]*=' $parts[2])
        set -l path (string replace -r -- '^-[^=]*=' '' $parts[2])
        switch $parts[1]
            case plain part
                printf '%%s\\n' $parts[2]
            case file
                printf "$option%%s\\n" (__fish_complete_path $path)
            case dir
                printf "$option%%s\\n" (__fish_complete_directories $path)
        end
    end
end

complete --no-files --keep-order --command %(prog_name)s --arguments '(%(complete_func)s)'
"""


class Word(NamedTuple):
    """A word of a command line: its value, how it was typed, and the quote that is still open."""

    value: str
    raw: str
    quote: str


def split_line(text: str) -> list[Word]:
    """Cut a line into words as a POSIX shell does; the last one, maybe empty, is being typed."""
    found: list[Word] = []
    at, end = 0, len(text)
    while True:
        while at < end and text[at] in _BLANKS:
            at += 1
        start = at
        value, quote = "", ""
        while at < end and (quote or text[at] not in _BLANKS):
            char = text[at]
            if quote and char == quote:
                quote = ""
            elif not quote and char in "'\"":
                quote = char
            elif char == "\\" and quote != "'" and at + 1 < end:
                at += 1
                # Between double quotes a backslash protects few characters.
                value += text[at] if not quote or text[at] in '"\\$`' else "\\" + text[at]
            elif char != "\\" or quote == "'":
                value += char
            at += 1
        found.append(Word(value, text[start:at], quote))
        if at >= end:
            return found


class _Bpfctl(ShellComplete):
    """What the shells have in common."""

    def source(self) -> str:
        return self.source_template % self.source_vars()

    def get_completion_args(self) -> tuple[list[str], str]:
        self.words = split_line(os.environ["COMP_WORDS"])
        self._assignments()
        values = [word.value for word in self.words]
        cursor = os.environ.get("COMP_CWORD", "")
        if cursor.isdecimal():
            # Click's own scripts: all words, and which of them is being typed.
            at = int(cursor)
            self.words = []
            return values[1:at], values[at] if at < len(values) else ""
        return values[1:-1], values[-1]

    def _assignments(self) -> None:
        """Take variables before the command into account, as the command will."""
        while len(self.words) > 1 and _ASSIGNMENT.match(self.words[0].raw):
            name, _, value = self.words.pop(0).value.partition("=")
            if name.startswith("BPFCTL_"):
                os.environ[name] = value

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        return complete(args, incomplete)


class Bash(_Bpfctl, BashComplete):
    """bash: offers the rest of a word where it has broken one."""

    name: ClassVar[str] = "bash"
    source_template: ClassVar[str] = _BASH

    def format_completion(self, item: CompletionItem[Any]) -> str:
        dropped, quote = self._before_word()
        return f"{item.type},{_quoted(item.value[dropped:], quote)}"

    def _before_word(self) -> tuple[int, str]:
        """Return how many characters of the values bash has already, and the open quote."""
        if not getattr(self, "words", None):
            return 0, ""
        typed = self.words[-1]
        word = os.environ.get("COMP_WORD", typed.raw)
        if not typed.raw.endswith(word):
            return 0, typed.quote
        head = split_line(typed.raw[: len(typed.raw) - len(word)])[-1]
        return len(head.value), typed.quote


def _quoted(value: str, quote: str) -> str:
    """Write a value as bash reads it, within an open quote or without."""
    if quote == "'":
        return value.replace("'", "'\\''")
    special = '"\\$`' if quote else _SPECIAL
    text = "".join("\\" + char if char in special else char for char in value)
    return "\\" + text if not quote and text[:1] in ("~", "#") else text


class Zsh(_Bpfctl, ZshComplete):
    """zsh: three lines for each item, type, value and help."""

    name: ClassVar[str] = "zsh"
    source_template: ClassVar[str] = _ZSH

    def format_completion(self, item: CompletionItem[Any]) -> str:
        value = item.value
        if item.help:
            # _describe splits at the first colon that nothing protects.
            value = value.replace("\\", "\\\\").replace(":", "\\:")
        return f"{item.type}\n{value or '_'}\n{item.help or '_'}"


class Fish(_Bpfctl, FishComplete):
    """fish: value and help on one line."""

    name: ClassVar[str] = "fish"
    source_template: ClassVar[str] = _FISH

    def format_completion(self, item: CompletionItem[Any]) -> str:
        about = f"\t{item.help}" if item.help else ""
        return f"{item.type},{item.value}{about}"


_CLASSES: tuple[type[ShellComplete], ...] = (Bash, Zsh, Fish)


def register() -> None:
    """Have Click use these classes for the three shells."""
    for cls in _CLASSES:
        add_completion_class(cls)


def script(shell: str) -> str:
    """Return the completion script of a shell."""
    import click

    cls = next(cls for cls in _CLASSES if cls.name == shell)
    return cls(click.Group(), {}, PROGRAM, COMPLETE_VARIABLE).source()
