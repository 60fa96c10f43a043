"""Retention on disk and in a real MLflow store."""

from dataclasses import replace
from pathlib import Path

import pytest

from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.nightly.night import Night, list_nights
from driveforge.pipelines.nightly.retention import remove_expired
from driveforge.pipelines.registry.versions import CHAMPION, Registry, Version, open_registry
from driveforge.pipelines.run_dir import RunDir
from driveforge.pipelines.tracking.runs import pipeline_run
from tests.pipelines.nightly.test_night import make_night
from tests.pipelines.promotion_runs import make_model

KEPT = ("report.md", "verdicts.parquet", "evaluation.parquet", "shards/index.json", "notes/mine.txt")
WORKING = ("finetune/step=2.ckpt", "replay/key/a")
LARGE = ("model/weights", "refused/weights", "candidates/unit.tar", "review/page/media/a/cam_front.mp4")


def fill(run: RunDir) -> None:
    for name in (*KEPT, *WORKING, *LARGE):
        (run.root / name).parent.mkdir(parents=True, exist_ok=True)
        (run.root / name).write_text("x")


def files(root: Path) -> set[str]:
    names = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    return names & {*KEPT, *WORKING, *LARGE}


def finished(nights: Path) -> list[Night]:
    return [night for night in list_nights(nights) if night.is_finished]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return compose([f"run_dir={tmp_path / 'nights' / 'last'}", "nightly.keep_nights=2", "nightly.keep_refused=1"])


def register(config: Config, count: int) -> tuple[Registry, list[Version]]:
    versions = []
    with pipeline_run(config, "nightly") as tracker:
        registry = open_registry(config.run, config.tracking, "driveforge")
        for number in range(count):
            folder = config.run_dir / "made" / str(number)
            digest = make_model(folder, str(number))
            with tracker.child("promote") as child:
                versions.append(registry.register(folder, digest, child))
    return registry, versions


def test_old_nights_keep_results_and_old_refused_models_are_removed(config: Config) -> None:
    registry, versions = register(config, 5)
    registry.set_champion(versions[0], None)
    registry.set_champion(versions[2], versions[0])
    nights = config.run_dir.parent
    latents = RunDir(nights).latents
    for name, outcome, keys in (
        ("a", "promoted", ("old", "replay")), ("b", "superseded", ()), ("c", "refused", ("newer", "replay")),
        ("d", "promoted", ("newest", "replay")), ("e", "", ("newest", "replay")),
    ):  # fmt: skip
        make_night(nights, name, outcome=outcome, latents=keys)
        fill(RunDir(nights / name))
        for key in keys:
            (latents / key).mkdir(parents=True, exist_ok=True)
    (latents / "digests.json").write_text("{}")
    remove_expired(config, nights, finished(nights))
    assert files(nights / "a") == files(nights / "b") == set(KEPT)
    assert files(nights / "c") == files(nights / "d") == {*KEPT, *LARGE}
    assert files(nights / "e") == {*KEPT, *WORKING, *LARGE}, "the unfinished night keeps everything"
    assert {path.name for path in latents.iterdir()} == {"newest", "replay", "digests.json"}
    # Versions 1 and 3 were champions, 5 is the candidate, and one refused one is kept.
    left = [number for number in ("1", "2", "3", "4", "5") if registry.version(number)]
    assert left == ["1", "3", "4", "5"]
    for version in versions:
        stored = Path(version.source.removeprefix("file://"))
        assert stored.exists() == (version.number in left)
    assert registry.alias(CHAMPION) == registry.version("3")


def test_a_night_whose_records_were_not_sent_keeps_its_files(config: Config) -> None:
    registry, versions = register(config, 1)
    registry.set_champion(versions[0], None)
    nights = config.run_dir.parent
    for name in ("a", "b", "c", "d"):
        make_night(nights, name, outcome="refused")
        fill(RunDir(nights / name))
    RunDir(nights / "a").mlflow_outbox.write_text("")
    remove_expired(replace(config, nightly=replace(config.nightly, keep_nights=None)), nights, finished(nights))
    assert files(nights / "b") == {*KEPT, *LARGE}
    remove_expired(config, nights, finished(nights))
    assert files(nights / "a") == {*KEPT, *WORKING, *LARGE}
    assert files(nights / "b") == set(KEPT)
