"""The plan stage: which clips a run would request, as a table and a picture, before anything is generated."""

import argparse
from pathlib import Path

from rich.console import Console
from rich.table import Table

from driveforge.pipelines.config.config import Config
from driveforge.pipelines.console import plain_text, print_result
from driveforge.pipelines.generate.plan.plot import MAX_EDITS, Example, plot_plan
from driveforge.pipelines.generate.plan.prepare import prepare_plan
from driveforge.pipelines.generate.plan.recorded import Recorded, open_recorded
from driveforge.pipelines.generate.plan.summary import PlanSummary, describe_sources
from driveforge.pipelines.generate.plan.traits import UNITS
from driveforge.pipelines.generate.requests import SCENES_FOLDER, load_scene
from driveforge.pipelines.generate.select import generator_digest, require_generable, select_generator
from driveforge.pipelines.inputs.sources import HELD_OUT_SPLITS

_BAR_WIDTH = 16


def main(config: Config, args: argparse.Namespace) -> int:
    """Make the plan, print it and draw it; a plan of other settings is replaced while nothing is generated."""
    selected, root = select_generator(config), config.run.candidates
    recorded = open_recorded(config.data, root, config.generate)
    require_generable(selected, recorded.scenes, config.generate)
    _, summary = prepare_plan(root, recorded, config.generate, generator_digest(selected), may_replace=True)
    console = Console()
    console.print(edit_table(summary))
    console.print(trait_table(summary))
    for line in describe_sources(summary):
        print_result(line)
    splits = {split: _split_label(split) for split in summary.splits}
    plot_plan(config.run.plan_picture, summary, find_examples(root, recorded, summary), splits)
    print_result(f"picture: {config.run.plan_picture}")
    print_result(f"driveforge generate run_dir={config.run_dir} generates these clips")
    return 0


def edit_table(summary: PlanSummary) -> Table:
    """Clips by edit and split."""
    splits = list(summary.splits)
    title = f"Plan {summary.plan[:12]}: {summary.num_clips} clips in {summary.num_units} units"
    table = Table(title=title, title_justify="left")
    table.add_column("edit", overflow="fold")
    for split in splits:
        table.add_column(plain_text(f"from {split or 'no split'}"), justify="right")
    for edit, counts in summary.edits.items():
        table.add_row(plain_text(edit), *(str(counts.get(split, 0)) for split in splits))
    table.add_section()
    table.add_row("all", *(str(count) for count in summary.splits.values()))
    return table


def trait_table(summary: PlanSummary) -> Table:
    """Clips and scenes by the bins of their traits."""
    table = Table(title="Recorded scenes that the clips derive from, by their means", title_justify="left")
    for name in ("trait", "bin"):
        table.add_column(name)
    for name in ("scenes", "clips"):
        table.add_column(name, justify="right")
    table.add_column("share of clips")
    for trait, counts in summary.traits.items():
        for number, (label, (clips, scenes)) in enumerate(counts.items()):
            name = f"{trait}, {UNITS[trait]}" if number == 0 else ""
            bar = "█" * round(_BAR_WIDTH * clips / max(summary.num_clips, 1))
            table.add_row(name, label, str(scenes), str(clips), bar)
        table.add_section()
    return table


def find_examples(root: Path, recorded: Recorded, summary: PlanSummary) -> list[Example]:
    """One scene before and after each of the first edits; different edits show different scenes if they can."""
    scenes = {scene.clip_id: scene for scene in recorded.scenes}
    examples: list[Example] = []
    for edit, pairs in list(summary.examples.items())[:MAX_EDITS]:
        shown = {example.recorded.clip_id for example in examples}
        clip_id, name = next((pair for pair in pairs if pair[0] not in shown), pairs[0])
        edited = load_scene(root / SCENES_FOLDER, name)
        examples.append(Example(edit=edit, recorded=scenes[clip_id], edited=edited))
    return examples


def _split_label(split: str) -> str:
    if split in HELD_OUT_SPLITS:
        return f"evaluation split {split}"
    return f"split {split}" if split else "no split"
