"""What a measurement is: samples of each target, taken in turns, and a goal for barque."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Goal:
    """What barque is to reach: ``factor`` times better than ``other``, or a plain ``limit``."""

    other: str = ""
    factor: float = 0.0
    limit: float = 0.0


@dataclass
class Measurement:
    """Samples of one quantity, by target."""

    name: str
    unit: str
    better: Literal["lower", "higher"] = "lower"
    goal: Goal | None = None
    samples: dict[str, list[float]] = field(default_factory=dict)

    def add(self, target: str, *values: float) -> None:
        """Record samples of ``target``."""
        self.samples.setdefault(target, []).extend(values)

    def median(self, target: str) -> float | None:
        """Return the median of ``target``'s samples, or None where it has none."""
        samples = self.samples.get(target)
        return statistics.median(samples) if samples else None

    def advantage(self, target: str, other: str) -> float | None:
        """Return how many times better ``target`` is than ``other``, or None if unknown."""
        mine, theirs = self.median(target), self.median(other)
        if not mine or not theirs:
            return None
        return theirs / mine if self.better == "lower" else mine / theirs

    def verdict(self, target: str = "barque") -> str:
        """Return "met", "missed" with by how much, or "" without a goal or a sample."""
        mine = self.median(target)
        if self.goal is None or mine is None:
            return ""
        if self.goal.limit:
            return _verdict(self.goal.limit / mine, 1.0, f"at most {self.goal.limit:g}")
        advantage = self.advantage(target, self.goal.other)
        if advantage is None:
            return ""
        return _verdict(
            advantage, self.goal.factor, f"at least {self.goal.factor:.2g} x {self.goal.other}"
        )


def _verdict(reached: float, wanted: float, text: str) -> str:
    return f"met ({text})" if reached >= wanted else f"missed ({text})"


def interleave(
    samplers: Mapping[str, Callable[[], float]], measurement: Measurement, rounds: int
) -> Measurement:
    """Take ``rounds`` samples from each of ``samplers``, in turns; by target.

    Each round begins with another one. One sample of each beforehand is thrown away: it pays
    for cold caches.
    """
    for sample in samplers.values():
        sample()
    order = list(samplers.items())
    for _ in range(rounds):
        for name, sample in order:
            measurement.add(name, sample())
        order.append(order.pop(0))
    return measurement
