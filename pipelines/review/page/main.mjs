"use strict";
// Builds the page, loads the clips, and binds the keys.

const KEYS = [
  ["j ↓ / k ↑", "next / previous clip"], ["← →", "clip to the left / right"], ["space", "play or pause"], [", .", "previous / next frame"],
  ["Home End", "first / last frame"], ["f", "next reason: jump to its frames"], ["a r u", "accept, reject, unsure"], ["n", "write a note"],
  ["z", "undo"], ["x", "withdraw my decision"], ["1 2 3", "boxes, tracks, epipoles"], ["s", "source clip"], ["c", "next camera"],
  ["m", "measured sheet"], ["l", "copy link"], ["b", "blind audit"], ["/", "search"], ["g", "run the gate with the decisions"], ["?", "this list"],
];

function buildPage() {
  const search = make("input", { type: "search", id: "search", placeholder: "Search reason, clip, edit, caption …  (/)", "aria-label": "Search", oninput: () => { filters.text = search.value; refresh({ keepPlace: false }); } });
  const order = make("select", { id: "order", "aria-label": "Order", onchange: () => { filters.order = order.value; refresh({ keepPlace: false }); cards.box.scrollTop = 0; } });
  for (const [value, [text]] of Object.entries(ORDERS)) order.append(make("option", { value }, text));
  const audit = button("Blind audit", "judge a random sample without the gate's verdict (b)", () => toggleAudit(), ".quiet");
  audit.id = "audit";
  const who = button("", "reviewer: change the name", () => askReviewer(), ".quiet");
  who.id = "reviewer";
  const apply = button("", "run the gate with the decisions (g)", () => applyDecisions(), ".primary");
  apply.id = "apply";
  const advanceField = make("input", { type: "checkbox", id: "advance", checked: true });
  document.body.replaceChildren(
    make("header", { id: "top" }, make("h1", {}, app.table.title), search, order, make("span", { id: "count", role: "status" }), make("span.spacer"), audit,
      make("label.advance", { title: "after a decision, go to the next clip" }, advanceField, "next after deciding"), who, button("?", "keys", () => document.getElementById("help").showModal(), ".quiet")),
    make("div", { id: "progress" }, make("div", { id: "bar" }, make("i")), make("span", { id: "progress-text" }), make("span", { id: "estimate" }), apply),
    make("p.warning", { id: "lost", hidden: true, role: "alert" }, "The server does not answer: decisions are not saved. Start `driveforge review` again and open the address that it prints."),
    make("main", {},
      make("aside", { id: "filters", "aria-label": "Filters" }, make("button.quiet", { id: "clear", type: "button", hidden: true, onclick: clearFilters }, "Clear all filters")),
      make("div", { id: "cards", role: "feed", tabIndex: 0, "aria-label": "Clips" }, make("p.none", { id: "none", hidden: true }, "No clip passes these filters.")),
      make("aside", { id: "detail", "aria-label": "Selected clip" })),
    make("div", { id: "toasts", role: "status", "aria-live": "polite" }),
    make("dialog", { id: "sheet" }), helpDialog(), whoDialog());
  document.body.classList.toggle("static", !app.table.served);
}

function helpDialog() {
  const rows = KEYS.flatMap(([keys, text]) => [make("dt", {}, ...keys.split(" ").map((key) => (key === "/" && keys !== "/" ? " / " : make("kbd", {}, key)))), make("dd", {}, text)]);
  const { calibration } = app.table;
  return make("dialog", { id: "help" }, make("h2", {}, "Keys"), make("dl", {}, ...rows), make("p.hint", {}, `Limits: ${calibration.name}. ${calibration.note} False-reject rate ${calibration.false_rejects}.`), make("form", { method: "dialog" }, make("button", {}, "Close")));
}

function whoDialog() {
  const field = make("input", { type: "text", maxLength: 80, required: true, autocomplete: "off", "aria-label": "Your name" });
  return make("dialog", { id: "who" }, make("form", { method: "dialog" }, make("h2", {}, "Who is reviewing?"), make("p.hint", {}, "Your name is saved with every decision."), field, make("button.primary", { value: "ok" }, "Start")));
}

function drawProgress() {
  const rows = app.shown;
  const isDone = (row) => (app.audit ? Boolean(mine(row.id)) : decisionsOn(row.id).length > 0 || Boolean(app.overrides[row.id]));
  const done = rows.filter(isDone).length;
  const count = (value) => value.toLocaleString("en");
  document.getElementById("count").textContent = rows.length === app.rows.length ? `${count(rows.length)} clips` : `${count(rows.length)} of ${count(app.rows.length)} clips`;
  document.querySelector("#bar i").style.width = `${rows.length ? (100 * done) / rows.length : 0}%`;
  const own = app.reviewer ? `, ${count(rows.filter((row) => mine(row.id)).length)} by you` : "";
  document.getElementById("progress-text").textContent = app.audit ? `Blind audit: ${done} of ${rows.length} judged by you. The gate's verdict and other reviewers are hidden.` : `${count(done)} of ${count(rows.length)} reviewed${own}`;
  document.getElementById("estimate").textContent = app.audit ? "" : auditText();
  const apply = document.getElementById("apply");
  apply.hidden = !app.table.served || app.pending === 0 || app.audit;
  apply.textContent = `Apply ${app.pending} changed verdict${app.pending === 1 ? "" : "s"}`;
  const audit = document.getElementById("audit");
  audit.setAttribute("aria-pressed", String(app.audit));
  audit.hidden = !app.table.served || app.table.sample.length === 0;
}

function auditText() {
  const found = app.auditReport;
  if (!found || !found.num_judged) return "";
  const part = (name, one) => (one ? `${name} ${percent(one.estimate)} (${percent(one.low)} to ${percent(one.high)})` : "");
  return [`Audit ${found.num_judged} of ${found.num_sampled}:`, part("precision", found.precision), part("miss rate", found.miss_rate)].filter(Boolean).join(" ");
}

async function toggleAudit() {
  if (!app.audit && !app.reviewer && !(await askReviewer())) return;
  app.audit = !app.audit;
  document.body.classList.toggle("audit", app.audit);
  cards.box.scrollTop = 0;
  app.selected = null;
  refresh({ keepPlace: false });
  const first = app.audit ? app.shown.find((row) => !mine(row.id)) ?? app.shown[0] : app.shown[0];
  select(first?.id ?? null);
  detail.drawLegend();
  redraw();
}

function takeTable(table) {
  app.table = table;
  app.rows = table.rows;
  app.rows.forEach((row, index) => { row.index = index; });
  app.byId = new Map(app.rows.map((row) => [row.id, row]));
  Object.assign(app, { decisions: [], latest: new Map(), pending: table.review.pending, overrides: table.review.overrides, present: {}, auditReport: table.review.audit });
  addDecisions(table.review.decisions);
}

async function reloadTable() {
  forgetData();
  takeTable(await loadData("table", `?${Date.now()}`));
  for (const card of cards.live.values()) card.key = null;
  refresh();
  detail.show(app.byId.get(app.selected) ?? null, detail.player.frame);
}

function move(by) {
  const place = app.shown.findIndex((row) => row.id === app.selected);
  const next = app.shown[Math.max(0, Math.min(app.shown.length - 1, place + by))];
  if (next) select(next.id);
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const field = event.target;
  if (field.matches("textarea, select, input:not([type=checkbox]):not([type=range])")) {
    if (event.key === "Escape") field.blur();
    return;
  }
  if (event.key === " " && field.matches("button, input, summary")) return;
  if (field.id === "slider" && /^(Arrow|Home|End|Page)/.test(event.key)) return;
  const { player } = detail;
  const actions = {
    j: () => move(1), k: () => move(-1), ArrowRight: () => move(1), ArrowLeft: () => move(-1), ArrowDown: () => move(cards.columns), ArrowUp: () => move(-cards.columns),
    PageDown: () => move(3 * cards.columns), PageUp: () => move(-3 * cards.columns),
    " ": () => player.toggle(), ",": () => player.step(-1), ".": () => player.step(1),
    Home: () => { player.pause(); player.goTo(0); }, End: () => { player.pause(); player.goTo(Infinity); },
    f: () => detail.jumpNext(), a: () => decide.make("accept"), r: () => decide.make("reject"), u: () => decide.make("unsure"), x: () => decide.make("cleared"), z: () => decide.undo(),
    n: () => decide.note.focus(), s: () => { if (app.table.sources) detail.sourceField.click(); }, m: () => detail.openSheet(), l: () => detail.copyLink(), b: () => document.getElementById("audit").click(),
    c: () => detail.chooseCamera(detail.row.cameras[(detail.row.cameras.indexOf(app.camera) + 1) % detail.row.cameras.length]),
    g: () => { if (app.pending && app.table.served) applyDecisions(); },
    "/": () => document.getElementById("search").focus(), "?": () => document.getElementById("help").showModal(),
  };
  for (const [i, key] of ["boxes", "tracks", "headings"].entries()) actions[String(i + 1)] = () => document.querySelector(`[data-layer=${key}]`).click();
  const action = actions[event.key];
  if (!action || (!detail.row && !["/", "?", "b"].includes(event.key))) return;
  event.preventDefault();
  action();
}

async function start() {
  takeTable(await loadData("table"));
  document.title = `${app.table.title} · review`;
  try {
    app.reviewer = localStorage.getItem("driveforge.reviewer") ?? "";
  } catch {} // not available in a sandboxed frame
  buildPage();
  document.getElementById("reviewer").textContent = app.reviewer || "your name";
  buildFilters();
  cards.build();
  detail.build();
  const link = new URLSearchParams(location.hash.slice(1));
  const wanted = app.byId.has(link.get("clip")) ? link.get("clip") : null;
  refresh({ keepPlace: false });
  select(wanted ?? app.shown[0]?.id ?? null, { frame: Number(link.get("frame")) || 0 });
  if (wanted && link.get("frame")) detail.player.pause();
  addEventListener("keydown", onKey);
  addEventListener("hashchange", () => {
    const at = new URLSearchParams(location.hash.slice(1));
    if (app.byId.has(at.get("clip")) && at.get("clip") !== app.selected) select(at.get("clip"), { frame: Number(at.get("frame")) || 0 });
  });
  if (app.table.review.torn) say("The last line of decisions.jsonl is incomplete: that decision was not confirmed and does not count.", ".bad");
  updates.start();
}

start().catch((error) => {
  document.body.textContent = `The clips could not be loaded: ${error.message}`;
});
