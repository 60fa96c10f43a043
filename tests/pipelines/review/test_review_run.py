"""From a key that a reviewer presses to the exported shard, to a copy of the page, and to MLflow's viewer."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet
import pytest

from driveforge.datasets.webdataset_shards.tar_samples import read_samples
from driveforge.pipelines import cli
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.config.saved import load_settings
from driveforge.pipelines.review.command import open_review
from driveforge.pipelines.review.decisions import ReviewDecision, append_decision
from driveforge.pipelines.review.publish import MLFLOW_FOLDER
from driveforge.pipelines.run_dir import RunDir
from driveforge.pipelines.tracking.store import find_store, open_store
from driveforge.pipelines.tracking.ui import serve as serve_mlflow
from driveforge.validation.cross_conformal import calibrate
from tests.pipelines.measure_sets import some_measures
from tests.pipelines.review.small_review import serving
from tests.pipelines.review.test_page import SCRIPT, open_page, until
from tests.pipelines.small_plans import generate_small

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """Twelve gated clips, all too short to be measured, with a decision whose note is full of markup."""
    run = RunDir(tmp_path_factory.mktemp("runs") / "small")
    generate_small(run.candidates)
    calibrate(some_measures(60), name="by hand").save(run.calibration)
    first = next((run.candidates / "_commits").glob("*.json"))
    clip = json.loads(first.read_text())["keys"][0]
    note = ReviewDecision(clip=clip, reviewer="ben", verdict="reject", note=SCRIPT, time="2026-01-31T10:00:00.000Z")
    append_decision(run.decisions, note)
    assert cli.main(["gate", f"run_dir={run.root}"]) == 0
    return run


def _config(run: RunDir) -> Config:
    return load_settings(run.root, (), [f"run_dir={run.root}"])[0]


def test_a_verdict_by_key_reaches_the_shard(browser: "Browser", run: RunDir) -> None:
    review = open_review(_config(run))
    chosen = [row["id"] for row in review.table.rows][5]
    with serving(review) as address:
        for page in open_page(browser, f"{address}#clip={chosen}", name="Änne"):
            page.keyboard.press("n")
            page.keyboard.type("the truck is that long")
            page.keyboard.press("Escape")
            page.keyboard.press("a")
            until(page, "app.pending === 1")
            page.keyboard.press("g")
            until(page, "app.pending === 0 && !document.getElementById('apply').disabled", 60)
            assert page.locator(f".card[data-id={chosen}] .badge").inner_text() == "accepted"
    assert cli.main(["export", f"run_dir={run.root}"]) == 0
    samples = [sample for tar in run.shards.glob("*.tar") for sample in read_samples(tar)]
    ((key, members),) = samples
    verdict = json.loads(members["json"])["metadata"]["verdict"]
    assert key == chosen
    assert (verdict["state"], verdict["gate_state"]) == ("accepted", "unmeasured")
    assert (verdict["override_reviewer"], verdict["override_reason"]) == ("Änne", "the truck is that long")
    client = open_store(find_store(run, _config(run).tracking))
    stages = json.loads(run.mlflow_runs.read_text())["stages"]
    table = Path(client.download_artifacts(stages["gate"], "decisions/table.json"))
    shown = json.loads(table.read_text())
    latest = dict(zip(shown["columns"], shown["data"][0], strict=True))
    assert (latest["clip"], latest["reviewer"], latest["verdict"]) == (chosen, "Änne", "accept") and latest["time"]


@pytest.fixture(scope="module")
def copy(run: RunDir, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy that the command writes."""
    folder = tmp_path_factory.mktemp("my copies") / "copy of review"
    assert cli.main(["review", str(run.root), "--out", str(folder)]) == 0
    return folder


def test_a_copy_opens_from_the_disk(browser: "Browser", copy: Path) -> None:
    for page in open_page(browser, (copy / "index.html").as_uri()):
        assert page.locator("#count").inner_text() == "12 clips"
        page.keyboard.press("Space")
        until(page, "detail.player.video.currentTime > 0.1")
        until(page, "detail.player.overlay !== null")
        page.locator("[data-group=edit] label", has_text="dusk").click()
        assert page.locator("#count").inner_text() == "3 of 12 clips"
        page.get_by_role("button", name="Clear all filters").click()
        assert page.locator(".verdict:visible, #audit:visible, #apply:visible").count() == 0, "it is read-only"
        page.locator(".chip.reject").first.click()
        until(page, "document.querySelector('.others p') !== null")
        assert page.locator(".others p").inner_text() == SCRIPT
        assert page.evaluate("window.hacked") is None


def test_a_copy_has_files_beside_the_page_and_is_replaced(run: RunDir, copy: Path) -> None:
    page = (copy / "index.html").read_text()
    assert len(page) < 4000 and "base64" not in page
    assert len(list(copy.glob("media/*/front.mp4"))) == len(list(copy.glob("data/overlays/*/front.mp4.mjs"))) == 12
    assert {row["state"] for row in pyarrow.parquet.read_table(copy / "rejections.parquet").to_pylist()} <= {
        "unmeasured", "rejected",
    }  # fmt: skip
    assert cli.main(["review", str(run.root), "--out", str(copy)]) == 0
    (copy / "mine.txt").write_text("notes")
    assert cli.main(["review", str(run.root), "--out", str(copy)]) == 2
    assert (copy / "mine.txt").read_text() == "notes"
    (copy / "mine.txt").unlink()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_mlflow_shows_the_review(browser: "Browser", run: RunDir) -> None:
    """In MLflow's viewer of HTML artifacts, a frame without an address or an origin."""
    config = _config(run)
    stage = json.loads(run.mlflow_runs.read_text())["stages"]["gate"]
    store = find_store(run, config.tracking)
    experiment = open_store(store).get_run(stage).info.experiment_id
    with serve_mlflow(store, _free_port()) as (address, _):
        page = browser.new_page(viewport={"width": 1920, "height": 1080})
        page.goto(f"{address}/#/experiments/{experiment}/runs/{stage}/artifacts/{MLFLOW_FOLDER}/index.html")
        frame = page.frame_locator("iframe.mlflow-html-iframe, iframe#html")
        frame.locator(".card").first.wait_for(timeout=90_000)
        assert frame.locator("#count").inner_text() == "12 clips"
        frame.locator("[data-group=edit] label", has_text="dusk").click()
        assert frame.locator("#count").inner_text() == "3 of 12 clips"
        video = frame.locator("#detail figure.main video")
        video.evaluate("(video) => video.play()")
        page.wait_for_timeout(1500)
        assert video.evaluate("(video) => video.currentTime") > 0
        page.close()


def test_an_unknown_run_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], run: RunDir) -> None:
    assert cli.main(["review", str(tmp_path / "nothing")]) == 2
    assert "holds no run" in capsys.readouterr().err
    assert cli.main(["review", str(run.root.with_name("smal"))]) == 2
    assert cli.main(["review", str(run.root), "--sheets"]) == 2
    assert "--sheets belongs to --out DIR" in capsys.readouterr().err
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "calibration.json").write_text("{}")
    assert cli.main(["review", str(tmp_path / "new")]) == 2
    assert "calibration.json" in capsys.readouterr().err


def test_a_damaged_file_of_decisions_is_named(run: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    before = run.decisions.read_bytes()
    try:
        run.decisions.write_bytes(b"{\n" + before)
        for command in (["review", str(run.root)], ["gate", f"run_dir={run.root}"], ["export", f"run_dir={run.root}"]):
            assert cli.main(command) == 2
            assert "decisions.jsonl: line 1: is not valid JSON" in capsys.readouterr().err
    finally:
        run.decisions.write_bytes(before)


@pytest.fixture
def command(run: RunDir) -> "Iterator[subprocess.Popen[str]]":
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    arguments = [sys.executable, "-m", "driveforge.pipelines.cli", "review", str(run.root), "--port", "0"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment) as process:
        yield process
        process.kill()


def test_the_command_prints_an_address_that_opens(browser: "Browser", command: "subprocess.Popen[str]") -> None:
    assert command.stdout is not None
    line = next(line for line in command.stdout if line.startswith("Review of"))
    assert line.startswith("Review of 12 clips: http://127.0.0.1:")
    for page in open_page(browser, line.split()[4]):
        assert page.locator("#count").inner_text() == "12 clips"
    command.terminate()
    assert command.wait(20) == 143
