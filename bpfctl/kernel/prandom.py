"""The machine's random numbers: the kernel's own generator, from the seed of the settings.

Mirrors prandom_u32_state() and prandom_seed_early() of lib/random32.c (a combined Tausworthe
generator, period about 2**113). The kernel has one for each CPU; the machine has one.
"""

from __future__ import annotations

from bpfctl.kernel.records import Counter
from bpfctl.kernel.storage import Registry

MASK = 0xFFFFFFFF
# For each of the four words: shifts a, b, d of the step, mask c, and its least seed.
STEPS = (
    (6, 13, 18, 0xFFFFFFFE, 2),
    (2, 27, 2, 0xFFFFFFF8, 8),
    (13, 21, 7, 0xFFFFFFF0, 16),
    (3, 12, 13, 0xFFFFFF80, 128),
)
_LCG = 69069
_WARM_UP = 10

State = tuple[int, int, int, int]


def step(state: State) -> State:
    """Return the next state; the number drawn is the exclusive or of its words."""
    one, two, three, four = (
        (word & mask) << d & MASK ^ ((word << a & MASK ^ word) >> b)
        for word, (a, b, d, mask, _) in zip(state, STEPS, strict=True)
    )
    return one, two, three, four


def seeded(seed: int) -> State:
    """Return the state that a seed begins with."""
    words, last = [], seed & MASK
    for *_, least in STEPS:
        last = last * _LCG & MASK
        last = last if last >= least else last + least
        words.append(last)
    state: State = (words[0], words[1], words[2], words[3])
    for _ in range(_WARM_UP):
        state = step(state)
    return state


class Prandom:
    """The generator of one machine; its state is kept once a number was drawn."""

    def __init__(self, counters: Registry[Counter], seed: int) -> None:
        self._counters = counters
        self._seed = seed

    @property
    def state(self) -> State:
        """The four words; an engine may take them, draw by itself, and put them back."""
        words = [self._counters.get(f"prandom_{number}") for number in range(4)]
        one, two, three, four = words
        if one is None or two is None or three is None or four is None:
            return seeded(self._seed)
        return one.value, two.value, three.value, four.value

    @state.setter
    def state(self, state: State) -> None:
        for number, word in enumerate(state):
            name = f"prandom_{number}"
            found = self._counters.get(name)
            if found is None:
                self._counters.add(Counter(name, word))
            else:
                found.value = word

    def seed(self, seed: int) -> None:
        """Begin anew from another seed."""
        self._seed = seed
        self.state = seeded(seed)

    def u32(self) -> int:
        """Draw 32 bits."""
        self.state = state = step(self.state)
        one, two, three, four = state
        return one ^ two ^ three ^ four
