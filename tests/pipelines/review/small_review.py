"""A small run whose clips a reviewer can watch: a few real videos, listed as often as a test needs."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import uvicorn

from driveforge.datasets.webdataset_shards.format import clip_members
from driveforge.datasets.webdataset_shards.tar_samples import Span, scan_tar
from driveforge.datasets.webdataset_shards.tarball import write_tar
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.generate.candidates import Candidate, SampleRef
from driveforge.pipelines.review.clip_table import make_clip_table
from driveforge.pipelines.review.guard import make_token
from driveforge.pipelines.review.media import ClipMedia
from driveforge.pipelines.review.server import OpenReview, bind, make_app
from driveforge.pipelines.review.session import ReviewSession
from driveforge.pipelines.validate.gate import Decision
from driveforge.validation.calibration import Calibration
from driveforge.validation.instruments import Instruments
from driveforge.validation.records import Measures, make_measure, make_unmeasurable
from driveforge.validation.verdict import judge
from tests.defaults import sampler_settings
from tests.pipelines.generators import FakeGenerator
from tests.pipelines.scenes import driving_scene
from tests.validation.limits import limits_at

LIMITS = {"track_epipolar": 1.5, "pose_yaw": 2.0, "object_residual": 1.0}
CALIBRATION = limits_at("by hand", LIMITS, note="MADE BY HAND.")
SAMPLE = "scene-1-as-recorded-0123abcd"


def write_sample(folder: Path) -> tuple[Path, dict[str, Span]]:
    """A tar with one clip of two cameras and nine frames; returns it with the spans of the clip."""
    scene = driving_scene(SAMPLE, num_frames=9)
    scene = replace(scene, caption="a street", cameras=(*scene.cameras, replace(scene.cameras[0], name="back")))
    clip = FakeGenerator().generate(scene, None, seed=1, settings=sampler_settings())
    tar = folder / "unit-000000-00000000.tar"
    write_tar(tar, [(SAMPLE, clip_members(clip, {}))])
    return tar, scan_tar(tar)[SAMPLE]


def make_decisions(folder: Path, count: int, names: Sequence[str] = ()) -> list[Decision]:
    """``count`` decisions on the same clip under different names: every third is rejected, every tenth unmeasured."""
    tar, members = write_sample(folder)
    decisions = []
    for number in range(count):
        clip_id = names[number] if number < len(names) else f"clip-{number:04d}"
        value = 4.0 if number % 3 == 1 else 0.5 + 0.001 * (number % 7)
        measures = Measures(
            clip_id=clip_id,
            values=(
                replace(make_measure("pose_yaw", value), frames=(3, 4, 5)),
                make_measure("track_epipolar", 0.2 + number / 10_000),
                make_unmeasurable("object_residual", "no boxes in view"),
            ),
        )
        metadata = {"edit": ("slower", "dusk")[number % 2], "seed": number, "model": "fake-1", "request": "0123abcd"}
        ref = SampleRef(unit="unit-000000", tar=tar, key=clip_id, members=members)
        candidate = Candidate(ref=ref, metadata=metadata, measures=measures)
        decisions.append(Decision(candidate=candidate, verdict=judge(measures, CALIBRATION)))
    return decisions


def open_small_review(
    config: Config, decisions: Sequence[Decision], calibration: Calibration = CALIBRATION
) -> OpenReview:
    table = make_clip_table(decisions, calibration)
    return OpenReview(
        title=config.run_dir.name,
        reviewer="anna",
        table=table,
        media=ClipMedia(table, config.data, Instruments),
        session=ReviewSession(config.run, table, config.validate),
        reload=partial(open_small_review, config, decisions, calibration),
        apply=lambda: None,
    )


def small_config(run_dir: Path, *overrides: str) -> Config:
    run_dir.mkdir(parents=True, exist_ok=True)
    return compose([f"run_dir={run_dir}", *overrides])


@contextmanager
def serving(review: OpenReview, token: str = "") -> Iterator[str]:
    """Serve ``review`` from a thread; yields the address of the page."""
    token = token or make_token()
    sock = bind(0)
    port = sock.getsockname()[1]
    app = make_app(review, token=token, port=port)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}/{token}/"
    finally:
        server.should_exit = True
        thread.join(10)
