"""Agreement of passes and of raters: ``python -m tests.benchmarks.label_agreement``.

Cohen's kappa (Cohen 1960, Educational and Psychological Measurement 20) over the three labels, and over broken or not.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tests.benchmarks.generated_clips import FOLDER, HALVES

LABELS = ("fine", "borderline", "broken")


def main() -> None:
    rows = [row for half in HALVES for row in read_labels(FOLDER / f"labels-{half}.csv")]
    twice = [row for row in rows if row["second_pass"]]
    compare("two passes of one rater", twice, "first_pass", "second_pass")
    compare("two raters, clips of both passes", twice, "label", "second_rater")
    compare("two raters, other clips", [row for row in rows if not row["second_pass"]], "first_pass", "second_rater")


def compare(title: str, rows: Sequence[Mapping[str, str]], one: str, other: str) -> None:
    """Print the kappas of two columns of labels, and the table of both."""
    first, second = ([row[column] for row in rows] for column in (one, other))
    print(f"{title}: {len(rows)} clips, kappa of three labels {kappa(first, second):.2f}, ", end="")
    print(f"of broken or not {kappa([x == 'broken' for x in first], [x == 'broken' for x in second]):.2f}")
    for label in LABELS:
        counts = [sum(a == label and b == x for a, b in zip(first, second, strict=True)) for x in LABELS]
        print(f"  {label}: {counts} of {', '.join(LABELS)}")


def read_labels(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def kappa(first: Sequence[object], second: Sequence[object]) -> float:
    """Cohen's kappa: agreement above that of independent raters with the same shares, 1 if all agree."""
    values = sorted({*first, *second}, key=str)
    table = np.array([[sum(x == (a, b) for x in zip(first, second, strict=True)) for b in values] for a in values])
    shares = table / table.sum()
    by_chance = float(shares.sum(0) @ shares.sum(1))
    return (float(np.trace(shares)) - by_chance) / (1 - by_chance)


if __name__ == "__main__":
    main()
