"use strict";
// The joint score of the gate, what adds to it, and every measure with its limit.

function drawScore(summary, box, about) {
  const { joint, measures, calibration, is_current } = about;
  const byName = new Map(measures.map((measure) => [measure.name, measure]));
  const parts = joint.parts.filter((part) => part.adds > 0.005).slice(0, 8);
  summary.replaceChildren(make("h4", {}, "Joint score of the gate"), make("p.verdict-text", {}, scoreSentence(joint)), scoreAxis(joint));
  box.replaceChildren(
    make("h4", {}, "What adds to it"),
    make("p.hint", {}, "“Adds” is how much lower the score would be without the measure; “alone” is the score if all others were usual."),
    parts.length ? partsTable(parts, joint, byName) : make("p.hint", {}, "No measure has both a value and a limit."),
    make("h4", {}, "Measures and their limits"),
    measuresTable(measures),
    make("p.hint", {}, `Limits: ${calibration.name}. ${calibration.note} Bucket: ${joint.bucket}.`),
    is_current ? "" : make("p.warning", {}, "The limits have changed since the gate ran: the verdict may be another one now."));
}

function scoreSentence(joint) {
  const numbers = `${number(joint.score)}, limit ${number(joint.limit)}`;
  if (joint.kind === "none") return "Nothing could be measured, so there is no score.";
  if (joint.kind === "accepted") return `Score ${numbers}: within the limit.`;
  if (joint.kind === "single") {
    const alone = joint.parts.filter((part) => part.alone > joint.limit).map((part) => humanize(part.name));
    return `Score ${numbers}: above it. ${alone.join(", ")} would exceed it alone.`;
  }
  const most = joint.parts.slice(0, 3).map((part) => humanize(part.name)).filter(Boolean);
  return `Score ${numbers}: above it, although every single measure is within its own limit. Together they are too much, ${most.join(", ")} most of all.`;
}

function scoreAxis(joint) {
  const box = make("div.axis", { role: "img", "aria-label": `score ${number(joint.score)}, limit ${number(joint.limit)}` });
  if (joint.score === null) return box;
  const rows = [["all together", joint.score, true], ...joint.criteria.map((one) => [one.name, one.score, false])];
  const values = rows.map((row) => row[1]).concat(joint.limit, 0);
  const low = Math.max(-8, Math.min(...values) - 0.5);
  const high = Math.min(Math.max(...values) + 0.5, Math.max(joint.limit * 4, joint.limit + 12));
  const place = (value) => `${(100 * Math.min(Math.max((value - low) / (high - low), 0), 1)).toFixed(1)}%`;
  for (const [name, value, isTotal] of rows) {
    const fill = make("i" + (isTotal && value > joint.limit ? ".over" : isTotal ? ".within" : ""));
    fill.style.width = place(value);
    const limit = make("s", { hidden: !isTotal });
    limit.style.left = place(joint.limit);
    box.append(make("div.row" + (isTotal ? ".total" : ""), {}, make("b", {}, name), make("span.bar", {}, fill, limit), make("em", {}, isTotal ? `${number(value)} / ${number(joint.limit)}` : number(value))));
  }
  return box;
}

function partsTable(parts, joint, byName) {
  const top = Math.max(...parts.map((part) => part.adds));
  return make("table.parts", {},
    make("thead", {}, make("tr", {}, ...["measure", "adds", "alone", "value / limit"].map((text) => make("th", { scope: "col" }, text)))),
    make("tbody", {}, ...parts.map((part) => {
      const measure = byName.get(part.name);
      const fill = make("i");
      fill.style.width = `${100 * Math.min(1, part.adds / top)}%`;
      return make("tr", {},
        make("th", { scope: "row", title: measure?.about ?? "" }, humanize(part.name)),
        make("td.bar", {}, make("span.bar", {}, fill), make("em", {}, number(part.adds))),
        make("td" + (part.alone > joint.limit ? ".over" : ""), {}, number(part.alone)),
        make("td", {}, measure ? `${measure.value_text} / ${measure.limit_text}` : ""));
    })));
}

function measuresTable(measures) {
  return make("table.measures", {}, make("tbody", {}, ...measures.map((measure) => {
    const isOver = measure.value !== null && measure.limit !== null && measure.value > measure.limit;
    const kind = measure.value === null ? "none" : measure.limit === null ? "open" : isOver ? "over" : "within";
    const name = make("th", { scope: "row", title: measure.about }, humanize(measure.name));
    if (measure.is_reason && !isOver && measure.value !== null) name.append(make("small.mixed", {}, "too much with the others"));
    if (kind === "none") return make("tr.none", {}, name, make("td", { colSpan: 2 }, `not measurable: ${measure.why}`));
    return make("tr." + kind, {}, name, make("td.bar", {}, limitBar(measure)),
      make("td", {}, measure.value_text, make("small", {}, measure.limit === null ? "no limit" : `limit ${measure.limit_text}`)));
  })));
}

// The axis extends to 1.5 times the limit, and up to 5 times the limit for larger values.
function limitBar({ value, limit }) {
  const scale = Math.abs(limit ?? value) || 1;
  const end = Math.min(Math.max(1.5 * scale, value), 5 * scale);
  const fill = make("i");
  fill.style.width = `${100 * Math.min(Math.max(value / end, 0), 1)}%`;
  const mark = make("s", { hidden: limit === null });
  if (limit !== null) mark.style.left = `${100 * Math.min(limit / end, 1)}%`;
  return make("span.bar", {}, fill, mark);
}
