"""Export: what the gate accepted becomes shards under ``<run_dir>/shards``."""

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from datasets.errors import UserError
from datasets.tar_samples import Span, scan_tar
from pipelines.console import show
from pipelines.gate import VERDICTS_FILE, read_ledger
from pipelines.generate import candidates_root
from pipelines.settings.config import Config
from pipelines.shards.data_card import Provenance
from pipelines.shards.packing import AcceptedSample, PackSettings, pack


def main(config: Config, args: argparse.Namespace) -> None:
    """Pack what was accepted and say where it is."""
    index = export(config)
    where = f"{index['num_samples']} clips in {len(index['shards'])} shards: {shards_root(config)}"
    show(where)


def export(config: Config) -> dict[str, Any]:
    """Pack the accepted candidates of a run; the index of its shards. A UserError where none was accepted."""
    rows = read_ledger(config.run_dir / VERDICTS_FILE)
    settings = PackSettings(clips_per_shard=config.export.clips_per_shard)
    return pack(accepted_samples(rows, candidates_root(config)), shards_root(config), settings, provenance(rows))


def shards_root(config: Config) -> Path:
    return config.run_dir / "shards"


def accepted_samples(rows: Sequence[Mapping[str, Any]], candidates: Path) -> Iterator[AcceptedSample]:
    """The samples that the ledger's ``rows`` accept, each with its verdict as metadata."""

    @cache
    def spans(tar: str) -> Mapping[str, Mapping[str, Span]]:
        return scan_tar(candidates / tar)

    for row in rows:
        if row["state"] != "accepted":
            continue
        if row["clip_id"] not in spans(row["tar"]):
            raise UserError(f"{candidates / row['tar']} no longer holds {row['clip_id']}: run `driveforge gate` again")
        verdict = {key: row[key] for key in ("state", "gate_state", "calibration", "override_who", "override_why")}
        verdict["reasons"] = [reason["code"] for reason in row["reasons"]]
        yield AcceptedSample(
            tar=candidates / row["tar"],
            key=row["clip_id"],
            members=spans(row["tar"])[row["clip_id"]],
            metadata={"verdict": verdict},
        )


def provenance(rows: Sequence[Mapping[str, Any]]) -> Provenance:
    """What the card says of the whole ledger; a clip that was refused for several reasons counts under each."""
    refused = [row for row in rows if row["state"] != "accepted"]
    codes = (sorted({reason["code"] for reason in row["reasons"]}) or [row["state"]] for row in refused)
    return Provenance(
        model=", ".join(sorted({row["model"] for row in rows})),
        calibration=", ".join(sorted({row["calibration"] for row in rows})),
        num_generated=len(rows),
        rejected=Counter(code for row_codes in codes for code in row_codes),
    )
