"""Settings that rebalance a plan by its yields: edits that pass more often are repeated in ``generate.edits``."""

from collections.abc import Sequence

import yaml

from driveforge.pipelines.report.yields import Yield

# How often the edit with the highest yield is repeated. Every edit stays, so that its yield is measured further on.
MAX_REPEATS = 4


def rebalanced_edits(yields: Sequence[Yield]) -> list[str]:
    """The edits, repeated in proportion to the posterior means of their yields and taking turns; [] for fewer than two.

    Yields of 0.6, 0.3 and 0.1 give 4, 2 and 1 repeats: a, b, c, a, b, a, a.
    """
    rows = [row for row in yields if row.condition == "edit"]
    if len(rows) < 2:
        return []
    best = max(row.mean for row in rows)
    repeats = {row.value: max(1, round(MAX_REPEATS * row.mean / best)) for row in rows}
    return [edit for turn in range(MAX_REPEATS) for edit, count in repeats.items() if turn < count]


def settings_file(edits: Sequence[str]) -> bytes:
    """A file for ``--config``."""
    header = "# Edits in proportion to their yields: driveforge plan --config FILE run_dir=NEW\n"
    return (header + yaml.safe_dump({"generate": {"edits": list(edits)}}, default_flow_style=None, width=1000)).encode()
