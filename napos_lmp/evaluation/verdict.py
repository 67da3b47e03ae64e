"""What a potential is good for in one kind of system, in a word and a sentence that one can act on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from napos_lmp.evaluation.errors import Error

Word = Literal["good", "fair", "poor", "unknown"]

GOOD_PERCENT = 10.0
FAIR_PERCENT = 20.0
FAR = 2.0


@dataclass(frozen=True)
class Verdict:
    """A word for a table, and what it means."""

    word: Word
    sentence: str

    @property
    def sentence_with_word(self) -> str:
        """Both, for a table."""
        return f"{self.word}: {self.sentence}"


def verdict(force_relative: Error, distance: float | None, flagged: float | None) -> Verdict:
    """Judge a potential in one kind of system.

    Parameters
    ----------
    force_relative
        Root mean square error of the forces as a share of that of the labels, in %. The upper end of its interval
        counts, where there is one: below 10 % is good, below 20 % fair.
    distance
        Median distance of the frames from the training set, in its usual unit; None where it is not known.
    flagged
        Share of the frames, 0 to 1, in which the committee says that it extrapolates; None without a committee.
    """
    worst = force_relative.value if force_relative.high is None else force_relative.high
    signs = _signs(distance, flagged)
    if not worst > 0:
        return Verdict("unknown", "there are no forces to compare with")
    if worst <= GOOD_PERCENT:
        return Verdict("good", f"forces are within {worst:.0f} %: simulate{signs}")
    if worst <= FAIR_PERCENT:
        return Verdict("fair", f"forces are {worst:.0f} % off: structure and trends, no absolute rates{signs}")
    return Verdict("poor", f"forces are {worst:.0f} % off: label frames of it and train again{signs}")


def _signs(distance: float | None, flagged: float | None) -> str:
    """What is to be seen without labels, in further simulations of this kind."""
    said = []
    if distance is not None and distance > FAR:
        said.append(
            "it holds an element that was not trained on"
            if distance == float("inf")
            else f"it lies {distance:.1f} times as far from the training set as usual"
        )
    if flagged is not None and flagged > 0:
        said.append(f"the committee extrapolates in {100 * flagged:.0f} % of its frames")
    return f"; {' and '.join(said)}" if said else ""
