"""Agreement of the two passes of labels: ``python -m tests.benchmarks.label_agreement``.

Cohen's kappa (Cohen 1960, Educational and Psychological Measurement 20) over the three labels, and over broken or not.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.benchmarks.generated_clips import FOLDER, HALVES

LABELS = ("fine", "borderline", "broken")


def main() -> None:
    rows = [row for half in HALVES for row in read_labels(FOLDER / f"labels-{half}.csv")]
    first, second, final = ([row[column] for row in rows] for column in ("first_pass", "second_pass", "label"))
    print(f"{len(rows)} clips, kappa of three labels {kappa(first, second):.2f}, ", end="")
    print(f"of broken or not {kappa([x == 'broken' for x in first], [x == 'broken' for x in second]):.2f}")
    for label in LABELS:
        counts = [sum(a == label and b == other for a, b in zip(first, second, strict=True)) for other in LABELS]
        print(f"first pass {label}: second pass {counts} of {', '.join(LABELS)}; final {final.count(label)}")


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
