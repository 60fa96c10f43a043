"use strict";
// Decisions of reviewers: made by key or click, sent to the server, undone; and what others do meanwhile.

const VERDICTS = [["accept", "Accept", "a"], ["reject", "Reject", "r"], ["unsure", "Unsure", "u"]];
const decide = {
  undone: [],
  history: [],

  build(box) {
    this.box = box;
    this.buttons = VERDICTS.map(([verdict, text, key]) => make("button.verdict." + verdict, { type: "button", data: { verdict }, onclick: () => this.make(verdict) }, text, make("kbd", {}, key)));
    this.note = make("textarea", { id: "note", rows: 1, maxLength: 2000, placeholder: "Note (n). Ctrl+Enter saves it with the verdict.", "aria-label": "Note" });
    this.note.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.saveNote();
      if (event.key === "Escape") this.note.blur();
    });
    this.others = make("ul.others");
    this.looking = make("p.looking", { hidden: true });
    const undo = button("Undo", "take the last decision back (z)", () => this.undo(), ".quiet");
    const clear = button("Clear", "withdraw your decision on this clip (x)", () => this.make("cleared"), ".quiet");
    this.form = make("div.form", {}, make("div.buttons", {}, ...this.buttons, make("span.spacer"), undo, clear), make("div.noting", {}, this.note, button("Save note", "Ctrl+Enter", () => this.saveNote(), ".quiet")));
    box.append(this.form, this.looking, this.others);
  },

  draw() {
    const id = app.selected;
    if (!id) return;
    this.form.hidden = !app.table.served;
    const own = mine(id);
    for (const entry of this.buttons) entry.setAttribute("aria-pressed", String(own?.verdict === entry.dataset.verdict));
    if (this.noteOf !== id) {
      this.noteOf = id;
      this.note.value = own?.note ?? "";
    }
    const byHand = app.audit ? null : app.overrides[id];
    this.others.replaceChildren(
      ...(byHand ? [make("li", {}, make("b", {}, `${byHand.state} in overrides.json`), ` by ${byHand.reviewer}: ${byHand.reason}`)] : []),
      ...visibleDecisions(id).map((one) => make("li." + one.verdict, {}, make("b", {}, `${one.verdict} · ${one.reviewer}`), make("time", { dateTime: one.time }, localTime(one.time)), one.blind && !app.audit ? make("i", {}, "blind") : "", one.note ? make("p", {}, one.note) : "")),
      ...(isDisputed(id) && !app.audit ? [make("li.disputed", {}, "Reviewers disagree: the clip is not exported until they agree, or overrides.json decides.")] : []));
    const here = Object.entries(app.present).filter(([, clip]) => clip === id).map(([name]) => name);
    this.looking.hidden = here.length === 0;
    this.looking.textContent = `${here.join(", ")} ${here.length > 1 ? "are" : "is"} looking at this clip too.`;
  },

  async make(verdict, { clip = app.selected, note = this.note.value.trim(), isUndo = false } = {}) {
    if (!clip || !app.table.served) return;
    if (!app.reviewer && !(await askReviewer())) return;
    const before = mine(clip);
    if (verdict === "cleared" && !before) return;
    const record = { clip, reviewer: app.reviewer, verdict, note: verdict === "cleared" ? "" : note, blind: app.audit };
    try {
      await send("api/decisions", record);
    } catch (error) {
      say(`Not saved: ${error.message}`, ".bad");
      return;
    }
    if (!isUndo) this.history.push({ clip, before });
    await updates.ask();
    if (verdict === "cleared" && clip === app.selected) this.note.value = "";
    if (!isUndo && verdict !== "cleared") {
      say(`${humanize(verdict)}: ${clip}`, "." + verdict);
      if (app.selected === clip && document.getElementById("advance").checked) advance();
    }
  },

  async undo() {
    const last = this.history.pop();
    if (!last) return say("Nothing to undo.");
    const { clip, before } = last;
    await this.make(before?.verdict ?? "cleared", { clip, note: before?.note ?? "", isUndo: true });
    this.noteOf = null;
    if (app.shown.some((row) => row.id === clip)) select(clip);
    this.draw();
    say(`Undone: ${clip}`);
  },

  async saveNote() {
    const own = mine(app.selected);
    await this.make(own?.verdict ?? "unsure", { isUndo: false });
    this.note.blur();
  },
};

// The next clip: in the audit, the next one that this reviewer has not judged.
function advance() {
  const place = app.shown.findIndex((row) => row.id === app.selected);
  const rest = [...app.shown.slice(place + 1), ...app.shown.slice(0, Math.max(0, place))];
  const next = app.audit ? rest.find((row) => !mine(row.id)) : app.shown[place + 1];
  if (next) select(next.id);
  else if (app.audit) say("The audit is complete. Thank you.");
}

async function send(path, record) {
  const response = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(record) });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error ?? `the server answered ${response.status}`);
  return answer;
}

const updates = {
  start() {
    if (app.table.served) setInterval(() => this.ask().catch(() => this.lose()), 2000);
  },
  async ask() {
    const query = new URLSearchParams({ since: app.decisions.length, reviewer: app.reviewer, clip: app.selected ?? "" });
    const response = await fetch(`api/updates?${query}`);
    if (!response.ok) throw new Error("no answer");
    this.take(await response.json());
    document.getElementById("lost").hidden = true;
  },
  lose() {
    document.getElementById("lost").hidden = false;
  },
  take(report) {
    const fresh = report.decisions.slice(Math.max(0, app.decisions.length - (report.total - report.decisions.length)));
    const before = JSON.stringify([app.overrides, app.present]);
    addDecisions(fresh);
    Object.assign(app, { overrides: report.overrides, present: report.present, auditReport: report.audit, pending: report.pending });
    for (const one of fresh) {
      if (one.reviewer !== app.reviewer && one.clip === app.selected && !app.audit) say(`${one.reviewer}: ${one.verdict}`);
    }
    if (fresh.length || before !== JSON.stringify([app.overrides, app.present])) redraw();
    drawProgress();
  },
};

function redraw() {
  refresh();
  if (detail.row) detail.drawHead();
  decide.draw();
}

async function applyDecisions() {
  const bar = document.getElementById("apply");
  bar.disabled = true;
  try {
    const { applied } = await send("api/apply", {});
    say(`The gate has run with ${applied} changed verdicts.`);
    await reloadTable();
  } catch (error) {
    say(error.message, ".bad");
  }
  bar.disabled = false;
}

async function askReviewer() {
  const dialog = document.getElementById("who");
  const field = dialog.querySelector("input");
  field.value = app.reviewer || app.table.reviewer;
  dialog.showModal();
  field.select();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  if (dialog.returnValue !== "ok" || !field.value.trim()) return false;
  app.reviewer = field.value.trim().slice(0, 80);
  try {
    localStorage.setItem("driveforge.reviewer", app.reviewer);
  } catch {} // not available in a sandboxed frame
  document.getElementById("reviewer").textContent = app.reviewer;
  redraw();
  return true;
}

function localTime(text) {
  return new Date(text).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}
