"""The report of a night as a page in Markdown."""

from collections.abc import Iterator, Mapping
from typing import Any

_PERCENT = 100


def render_page(report: Mapping[str, Any]) -> str:
    """One page: what was trained on, the probes with their intervals, the decision, the clips and where they are."""
    lines = [f"# Night {report['night']}: {report['outcome']}", "", report["text"] + ".", ""]
    lines += _section("Model", _model_rows(report))
    lines += _decision_lines(report["decision"])
    lines += _section("Clips", _clip_rows(report))
    lines += _section("Time", [(stage, f"{seconds:.0f} s") for stage, seconds in report["seconds"].items()])
    return "\n".join(lines)


def _section(title: str, rows: list[tuple[str, str]]) -> Iterator[str]:
    yield from (f"## {title}", "", "| | |", "| --- | --- |")
    yield from (f"| {name} | {_cell(value)} |" for name, value in rows)
    yield ""


def _model_rows(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    data, model, training, code = (report[key] for key in ("data", "model", "training", "code"))
    pools = ", ".join(f"{count} {pool}" for pool, count in training["pools"].items())
    samples = ", ".join(f"{count} {pool}" for pool, count in training["sample_counts"].items())
    return [
        ("model", f"version {model['version']} ({model['digest']}), {model['folder']}"),
        ("parent", f"{report['parent']['is']} ({report['parent']['digest']})"),
        (
            "driving data",
            f"{data['source']}: {data['clips']} clips, {data['new_clips']} of them new ({data['digest']})",
        ),
        ("strategy", f"{training['strategy']}, {training['steps']} steps"),
        ("clips by domain", pools),
        ("samples drawn", samples),
        ("code", " ".join(filter(None, (code["version"], code["commit"])))),
    ]


def _decision_lines(decision: Mapping[str, Any]) -> Iterator[str]:
    outcome = "Promoted" if decision["promoted"] else "Refused"
    before = (
        f"compared with version {decision['champion_before']}" if decision["champion_before"] else "no champion yet"
    )
    yield from ("## Decision", "", f"{outcome}, {before}: {decision['summary']}.", "")
    yield from (f"- {text}" for text in decision["failed"])
    if decision["failed"]:
        yield ""
    yield "| against | domain | measure | clips | before | after | worse by | interval | allowed | |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    for check in decision["checks"]:
        low, high = check["bounds"]
        cells = (
            check["against"], check["domain"], check["measure"], check["clips"], _number(check["before"]),
            _number(check["after"]), _share(check["regression"]), f"{_share(low)} to {_share(high)}",
            _share(check["tolerance"]) if check["tolerance"] is not None else "must improve", check["state"],
        )  # fmt: skip
        yield f"| {' | '.join(_cell(str(cell)) for cell in cells)} |"
    yield ""


def _clip_rows(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    clips = report["clips"]
    low, high = (_PERCENT * bound for bound in clips["accepted_share_95"])
    share = f"{_PERCENT * clips['accepted_share']:.0f} % (95 % interval {low:.0f} to {high:.0f} %)"
    rows = [
        ("generated", f"{clips['generated']}, by the {clips['model']}"),
        ("accepted", f"{clips['accepted']}, {share}"),
        ("rejected", str(clips["rejected"])),
        ("not measurable", str(clips["unmeasured"])),
    ]
    rows += [(f"for {code}", str(count)) for code, count in clips["reasons"].items()]
    rows += [(f"failed: {unit}", error) for unit, error in clips["failed_units"].items()]
    return [*rows, ("exported to", report["export"] or "nothing: no clip was accepted")]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{_PERCENT * value:.1f} %"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
