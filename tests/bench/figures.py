"""Numbers of several runs, and the table that they make."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

HEAD = ("what", "median", "spread", "reference", "ratio", "aim", "met")


@dataclass
class Figure:
    """One line of the table: what was measured, run by run, beside its reference in the same minutes.

    `aim`: at least or at most (`≥`, `≤`) so many times the reference.
    """

    what: str
    runs: list[float] = field(default_factory=list)
    reference: list[float] = field(default_factory=list)
    aim: tuple[str, float] | None = None

    @property
    def ratio(self) -> float | None:
        """How many times the reference, by the medians."""
        if not self.runs or not self.reference or not statistics.median(self.reference):
            return None
        return statistics.median(self.runs) / statistics.median(self.reference)

    @property
    def met(self) -> bool | None:
        """Whether the aim is reached; None without an aim, or without numbers."""
        if self.aim is None or self.ratio is None:
            return None
        sign, factor = self.aim
        return self.ratio >= factor if sign == "≥" else self.ratio <= factor

    def as_json(self) -> dict[str, Any]:
        """The figure as data, each run with it."""
        return {
            "what": self.what,
            "median": statistics.median(self.runs) if self.runs else None,
            "runs": self.runs,
            "reference": self.reference,
            "ratio": self.ratio,
            "aim": "".join(map(str, self.aim)) if self.aim else None,
            "met": self.met,
        }

    def cells(self) -> tuple[str, ...]:
        """The figure as a line of text cells, in the order of `HEAD`."""
        return (
            self.what,
            _number(statistics.median(self.runs)) if self.runs else "invalid",
            f"{_number(min(self.runs))} – {_number(max(self.runs))}" if len(self.runs) > 1 else "",
            _number(statistics.median(self.reference)) if self.reference else "",
            f"{self.ratio:.2f}×" if self.ratio is not None else "",
            f"{self.aim[0]} {self.aim[1]:g}×" if self.aim else "",
            {None: "", True: "yes", False: "no"}[self.met],
        )


class Figures:
    """The figures of one workload, in the order in which they were first named."""

    def __init__(self) -> None:
        self._by_name: dict[str, Figure] = {}

    def __iter__(self) -> Any:
        return iter(self._by_name.values())

    def of(self, what: str, aim: tuple[str, float] | None = None) -> Figure:
        """The figure of that name, made when it is new."""
        return self._by_name.setdefault(what, Figure(what, aim=aim))

    def add(self, what: str, value: float | None, *, aim: tuple[str, float] | None = None) -> None:
        """One run's number; None when it could not be had."""
        if value is not None:
            self.of(what, aim).runs.append(value)

    def compare(self, what: str, value: float | None) -> None:
        """One run's number of the reference."""
        if value is not None:
            self.of(what).reference.append(value)


def percentile(sorted_values: Sequence[float], share: float) -> float:
    """The value that `share` of all (0.99) do not exceed."""
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * share))]


def table(figures: Sequence[Figure]) -> str:
    """Lines of Markdown, readable as they are."""
    rows = [HEAD, tuple("---" if column == 0 else "---:" for column in range(len(HEAD)))]
    rows += [figure.cells() for figure in figures]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _number(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
