"use strict";
// Filters, search and order: which clips are shown.

const GROUPS = [
  { key: "state", title: "Verdict", values: (row) => [finalState(row)] },
  { key: "review", title: "Review", values: reviewValues },
  { key: "reason", title: "Reason", values: (row) => [...new Set(row.reasons.map((reason) => reason.code))], label: humanize },
  { key: "edit", title: "Edit", values: (row) => [row.edit] },
  { key: "domain", title: "Domain", values: (row) => [row.domain] },
  { key: "condition", title: "Condition", values: (row) => [row.motion, row.light].filter(Boolean) },
  { key: "model", title: "Model", values: (row) => [row.model], label: (value) => value.slice(0, 12) },
];
const filters = { text: "", order: "run", measure: "", low: null, high: null, chosen: new Map(GROUPS.map((group) => [group.key, new Set()])) };

function reviewValues(row) {
  const decisions = decisionsOn(row.id);
  const values = decisions.length || app.overrides[row.id] ? ["reviewed"] : ["not reviewed"];
  if (app.overrides[row.id]) values.push("in overrides.json");
  if (decisions.some((one) => one.reviewer === app.reviewer)) values.push("by me");
  if (row.copied) values.push("video in this copy");
  if (finalState(row) !== row.state) values.push("gate overruled");
  if (isDisputed(row.id)) values.push("disputed");
  if (decisions.some((one) => one.verdict === "unsure")) values.push("unsure");
  return values;
}

function searchText(row) {
  if (!row.search) {
    const reasons = row.reasons.map((reason) => `${reason.code} ${reason.measure} ${reason.text}`).join(" ");
    row.search = `${row.id} ${row.edit} ${row.domain} ${row.caption} ${row.source} ${row.seed} ${row.model} ${reasons}`.toLowerCase();
  }
  return row.search;
}

function passes(row, except = "") {
  const words = filters.text.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.every((word) => searchText(row).includes(word))) return false;
  for (const group of GROUPS) {
    const chosen = filters.chosen.get(group.key);
    if (group.key !== except && chosen.size && !group.values(row).some((value) => chosen.has(value))) return false;
  }
  if (!filters.measure) return true;
  const value = measureOf(row, filters.measure);
  if (filters.low === null && filters.high === null) return true;
  return value !== null && (filters.low === null || value >= filters.low) && (filters.high === null || value <= filters.high);
}

function measureOf(row, name) {
  return app.table.measures[name]?.[row.index] ?? null;
}

const excess = (row) => (row.score === null ? -Infinity : row.score - row.limit);
const newest = (row) => decisionsOn(row.id).reduce((last, one) => (one.time > last ? one.time : last), "");
const ORDERS = {
  run: ["order of the run", null],
  worst: ["score above its limit: highest first", (a, b) => excess(b) - excess(a)],
  best: ["score above its limit: lowest first", (a, b) => excess(a) - excess(b)],
  close: ["closest to the limit", (a, b) => Math.abs(excess(a)) - Math.abs(excess(b))],
  newest: ["last reviewed", (a, b) => (newest(a) < newest(b) ? 1 : -1)],
  measure: ["chosen measure: highest first", (a, b) => (measureOf(b, filters.measure) ?? -Infinity) - (measureOf(a, filters.measure) ?? -Infinity)],
};

// Applies filters and order; keeps the selected clip, or selects the one that takes its place.
function refresh({ keepPlace = true } = {}) {
  const place = app.shown.findIndex((row) => row.id === app.selected);
  if (app.audit) app.shown = app.table.sample.map((id) => app.byId.get(id));
  else {
    app.shown = app.rows.filter((row) => passes(row));
    const compare = ORDERS[filters.order][1];
    if (compare) app.shown.sort((a, b) => compare(a, b) || a.index - b.index);
  }
  const isShown = app.shown.some((row) => row.id === app.selected);
  if (!isShown) {
    const next = app.shown[Math.min(Math.max(0, keepPlace ? place : 0), app.shown.length - 1)];
    select(next?.id ?? null);
  }
  cards.render();
  drawFilters();
  drawProgress();
}

function buildFilters() {
  const box = document.getElementById("filters");
  for (const group of GROUPS) {
    const list = make("div.options", { role: "group", "aria-label": group.title });
    group.list = list;
    box.append(make("details", { open: true, data: { group: group.key } }, make("summary", {}, group.title), list));
  }
  const change = () => {
    const limit = (field) => (field.value === "" || Number.isNaN(Number(field.value)) ? null : Number(field.value));
    Object.assign(filters, { measure: choice.value, low: limit(low), high: limit(high) });
    unit.textContent = choice.value ? app.table.units[choice.value] : "";
    refresh({ keepPlace: false });
  };
  const choice = make("select", { id: "measure", "aria-label": "Measure", onchange: change }, make("option", { value: "" }, "any measure"));
  for (const name of Object.keys(app.table.measures)) choice.append(make("option", { value: name }, humanize(name)));
  const low = make("input", { id: "low", type: "text", inputMode: "decimal", placeholder: "from", "aria-label": "From", oninput: change });
  const high = make("input", { id: "high", type: "text", inputMode: "decimal", placeholder: "to", "aria-label": "To", oninput: change });
  const unit = make("span.unit");
  box.append(make("details", { open: true }, make("summary", {}, "Measure"), make("div.measure", {}, choice, low, high, unit)));
  filters.fields = { choice, low, high, unit };
}

// Each option shows how many clips it would leave, given the other filters.
function drawFilters() {
  for (const group of GROUPS) {
    const counts = new Map();
    for (const row of app.rows) {
      if (passes(row, group.key)) for (const value of group.values(row)) counts.set(value, (counts.get(value) ?? 0) + 1);
    }
    const chosen = filters.chosen.get(group.key);
    for (const value of chosen) if (!counts.has(value)) counts.set(value, 0);
    const rank = (value) => (group.key === "state" ? STATES.indexOf(value) : -counts.get(value));
    const values = [...counts.keys()].sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
    const hadFocus = group.list.contains(document.activeElement) ? document.activeElement.value : null;
    group.list.replaceChildren(...values.map((value) => filterOption(group, value, counts.get(value), chosen)));
    if (hadFocus !== null) [...group.list.querySelectorAll("input")].find((field) => field.value === hadFocus)?.focus();
    group.list.parentElement.hidden = values.length === 0;
  }
  const isAny = filters.text || filters.measure || [...filters.chosen.values()].some((chosen) => chosen.size);
  document.getElementById("clear").hidden = !isAny || app.audit;
}

function filterOption(group, value, count, chosen) {
  const field = make("input", {
    type: "checkbox",
    value,
    checked: chosen.has(value),
    onchange: () => {
      if (field.checked) chosen.add(value);
      else chosen.delete(value);
      refresh({ keepPlace: false });
    },
  });
  const about = group.key === "reason" ? app.table.codes[value] ?? "" : value;
  const label = make("span.name", {}, group.label ? group.label(value) : value);
  return make("label", { title: about }, field, label, make("span.count", {}, count.toLocaleString("en")));
}

function clearFilters() {
  Object.assign(filters, { text: "", measure: "", low: null, high: null });
  for (const chosen of filters.chosen.values()) chosen.clear();
  document.getElementById("search").value = "";
  const { choice, low, high, unit } = filters.fields;
  choice.value = low.value = high.value = unit.textContent = "";
  refresh();
}
