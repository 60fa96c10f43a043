"""The server: what it serves, and what it refuses."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from driveforge.datasets.errors import UserError
from driveforge.pipelines.review.decisions import read_decision_log
from driveforge.pipelines.review.server import bind
from driveforge.pipelines.run_dir import RunDir
from tests.pipelines.review.small_review import make_decisions, open_small_review, serving, small_config

TOKEN = "the-token-of-this-test"


@dataclass(frozen=True)
class Served:
    address: str
    run: RunDir

    @property
    def origin(self) -> str:
        return self.address.removesuffix(f"/{TOKEN}/")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("review")
    config = small_config(folder / "run", "validate.audit_share=0.5")
    with serving(open_small_review(config, make_decisions(folder, 12)), TOKEN) as address:
        yield Served(address, config.run)


def get(url: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    return _answer(urllib.request.Request(url, headers={k.replace("_", "-"): v for k, v in headers.items()}))


def post(url: str, record: Any, **headers: str) -> tuple[int, dict[str, str], bytes]:
    named = {"Content-Type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
    body = record if isinstance(record, bytes) else json.dumps(record).encode()
    return _answer(urllib.request.Request(url, data=body, headers=named))


def _answer(request: urllib.request.Request) -> tuple[int, dict[str, str], bytes]:
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, dict(answer.headers.items()), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers.items()), error.read()


def script(content: bytes) -> Any:
    text = content.decode()
    return json.loads(text[text.index(", ") + 2 : text.rindex(");")])


def decision(**changes: Any) -> dict[str, Any]:
    return {"clip": "clip-0001", "reviewer": "anna", "verdict": "accept", "note": "", "blind": False} | changes


def test_the_page_has_every_clip_with_its_verdict(served: Served) -> None:
    status, headers, content = get(served.address)
    assert status == 200 and b"main.mjs" in content and "script-src 'self'" in headers["content-security-policy"]
    assert headers["referrer-policy"] == "no-referrer" and headers["x-content-type-options"] == "nosniff"
    table = script(get(served.address + "data/table.mjs")[2])
    assert [row["id"] for row in table["rows"]] == [f"clip-{n:04d}" for n in range(12)]
    assert [row["state"] for row in table["rows"][:3]] == ["accepted", "rejected", "accepted"]
    assert table["rows"][1]["reasons"][0]["code"] == "POSE_YAW" and table["rows"][1]["reasons"][0]["frames"] == [
        3,
        4,
        5,
    ]
    assert table["measures"]["pose_yaw"][1] == 4.0 and table["units"]["pose_yaw"] == "deg/s"
    assert "object_residual" not in table["measures"]
    assert table["rows"][0]["videos"] == {"front": "front.mp4", "back": "back.mp4"}


def test_a_clip_has_measures_limits_and_its_joint_score(served: Served) -> None:
    about = script(get(served.address + "data/clips/clip-0001.mjs")[2])
    rows = {row["name"]: row for row in about["measures"]}
    assert rows["pose_yaw"]["is_reason"] and rows["pose_yaw"]["limit"] == pytest.approx(2.0)
    assert rows["object_residual"]["value"] is None and rows["object_residual"]["why"] == "no boxes in view"
    assert about["joint"]["kind"] == "single" and about["joint"]["score"] > about["joint"]["limit"]
    assert about["joint"]["parts"][0]["name"] == "pose_yaw" and about["is_current"]
    overlays = script(get(served.address + "data/overlays/clip-0001/front.mp4.mjs")[2])
    assert len(overlays["frames"]) == 9 and {one["id"] for one in overlays["objects"]} == {"lead", "parked"}
    assert overlays["frames"][3]["boxes"] and overlays["frames"][3]["tracks"]["points"]
    assert overlays["frames"][4]["commanded"] is not None


def test_videos_are_sent_in_ranges(served: Served) -> None:
    url = served.address + "media/clip-0000/front.mp4"
    status, headers, whole = get(url)
    assert (status, headers["content-type"], headers["accept-ranges"]) == (200, "video/mp4", "bytes")
    assert whole[4:8] == b"ftyp"
    for given, part in (("bytes=10-19", whole[10:20]), ("bytes=100-", whole[100:]), ("bytes=-7", whole[-7:])):
        status, headers, content = get(url, Range=given)
        assert status == 206 and content == part and headers["content-range"].endswith(f"/{len(whole)}")
    assert get(url, Range=f"bytes={len(whole)}-")[0] == 416
    assert get(url, Range="bytes=0-1,5-6")[2] == whole, "several ranges are not supported, and may be ignored"
    assert get(served.address + "media/clip-0000/thumb.jpg")[1]["content-type"] == "image/jpeg"
    assert get(served.address + "media/clip-0000/sheet.png")[2][:4] == b"\x89PNG"


@pytest.mark.parametrize(
    "path",
    [
        "", "/", "/wrong/", "/wrong/data/table.mjs", f"/{TOKEN}", f"/{TOKEN}x/", f"/x{TOKEN}/", "/data/table.mjs",
        "/api/updates",
    ],
)  # fmt: skip
def test_a_request_without_the_token_is_refused(served: Served, path: str) -> None:
    status, headers, content = get(served.origin + path)
    assert status == 403 and b"no valid token" in content
    assert "content-security-policy" in headers and TOKEN.encode() not in content


@pytest.mark.parametrize(
    "headers, problem",
    [
        ({"Origin": "http://evil.example"}, b"another origin"),
        ({"Origin": "null"}, b"another origin"),
        ({"Origin": "http://127.0.0.1:1"}, b"another origin"),
        ({"Host": "evil.example"}, b"not this server's address"),
        ({"Host": "127.0.0.1:1"}, b"not this server's address"),
        ({"Sec_Fetch_Site": "cross-site"}, b"another site"),
    ],
)
def test_a_request_from_another_page_is_refused(served: Served, headers: dict[str, str], problem: bytes) -> None:
    for answer in (
        get(served.address, **headers),
        get(served.address + "data/table.mjs", **headers),
        post(served.address + "api/decisions", decision(), **headers),
    ):
        assert answer[0] == 403 and problem in answer[2]
    assert read_decision_log(served.run.decisions).decisions == ()


@pytest.mark.parametrize(
    "path",
    [
        "media/..%2F..%2F..%2Fetc%2Fpasswd/front.mp4", "media/clip-0000/..%2F..%2Fcalibration.json",
        "media/clip-0000/..%2Ffront.mp4", "media/%2e%2e/%2e%2e/etc/passwd", "..%2F..%2Fetc%2Fpasswd",
        "media/clip-0000/poses.npy", "media/clip-0000/json", "media/clip-9999/front.mp4", "media/clip-0000/left.mp4",
        "data/clips/..%2F..%2Fsettings.mjs", "data/overlays/clip-9999/front.mp4.mjs",
        "data/overlays/clip-0000/poses.npy.mjs",
        "server.py", "index.html", "loader.mjs",
        "media/clip-0000/source/..%2Ffront.mp4",
    ],
)  # fmt: skip
def test_only_files_of_the_page_and_its_clips_are_served(served: Served, path: str) -> None:
    status, _, content = get(served.address + path)
    assert status == 404 and b"root:" not in content


@pytest.mark.parametrize(
    "record, problem",
    [
        (decision(clip="clip-9999"), "no such clip"),
        (decision(clip="../../x"), "no such clip"),
        (decision(verdict="maybe"), "verdict must be"),
        (decision(reviewer=" "), "reviewer must be"),
        (decision(reviewer="a\nb"), "reviewer must be"),
        (decision(note="x" * 2001), "note must have at most 2000"),
        (decision(blind="yes"), "a decision has"),
        (decision() | {"time": "yesterday"}, "a decision has"),
        ([1], "must be a JSON object"),
        (b"{", "not JSON"),
        (b"x" * 70_000, "at most 64000 bytes"),
    ],
)
def test_a_wrong_decision_is_refused(served: Served, record: Any, problem: str) -> None:
    status, _, content = post(served.address + "api/decisions", record)
    assert status == 400 and problem in json.loads(content)["error"]
    assert read_decision_log(served.run.decisions).decisions == ()


def test_a_form_of_another_page_cannot_decide(served: Served) -> None:
    answer = post(served.address + "api/decisions", decision(), Content_Type="text/plain")
    assert answer[0] == 400 and read_decision_log(served.run.decisions).decisions == ()


def test_decisions_reach_the_file_and_the_other_reviewers(tmp_path: Path) -> None:
    config = small_config(tmp_path / "run", "validate.audit_share=0.5")
    review = open_small_review(config, make_decisions(tmp_path, 12))
    sampled = review.session.sample[0]
    open_clip = next(row["id"] for row in review.table.rows if row["id"] not in review.session.sample)
    with serving(review) as address:
        for record in (
            decision(clip=sampled, blind=True),
            decision(clip=open_clip, blind=True, verdict="reject", note="<script>alert(1)</script>"),
            decision(clip=open_clip, reviewer="ben"),
        ):
            assert post(address + "api/decisions", record)[0] == 200
        get(address + f"api/updates?since=0&reviewer=ben&clip={sampled}")
        report = json.loads(get(address + "api/updates?since=1&reviewer=anna&clip=x")[2])
    made = read_decision_log(config.run.decisions).decisions
    assert [(one.clip, one.reviewer, one.verdict, one.blind) for one in made] == [
        (sampled, "anna", "accept", True),
        (open_clip, "anna", "reject", False),  # not in the sample, so it was not blind
        (open_clip, "ben", "accept", False),
    ]
    assert all(one.time.endswith("Z") for one in made)
    assert report["total"] == 3 and [one["reviewer"] for one in report["decisions"]] == ["anna", "ben"]
    assert report["present"] == {"ben": sampled} and report["pending"] == 2
    assert report["audit"]["num_judged"] == 1


def test_decisions_of_another_server_and_a_torn_line_are_shown(tmp_path: Path) -> None:
    config = small_config(tmp_path / "run")
    decisions = make_decisions(tmp_path, 4)
    one, other = (open_small_review(config, decisions).session for _ in range(2))
    assert one.report()["total"] == 0
    other.decide(clip="clip-0001", reviewer="ben", verdict="accept", note="", blind=False)
    assert one.report()["total"] == 1
    with config.run.decisions.open("ab") as file:
        file.write(b'{"clip": "clip-0002", "rev')
    assert (one.report()["total"], one.report()["torn"]) == (1, 26)


def test_a_port_in_use_is_named(served: Served) -> None:
    port = int(served.origin.rpartition(":")[2])
    with pytest.raises(UserError, match=f"port {port} cannot be used .*--port"):
        bind(port)
