"use strict";
// The data of the page, and small functions that build elements. Text is only ever set as text, never as markup.

const app = {
  table: null, // what the server or the static copy sent
  rows: [], // all clips
  byId: new Map(),
  shown: [], // the clips that pass the filters, in order
  selected: null, // id of the selected clip
  audit: false, // the blind audit is on
  decisions: [], // all decisions, oldest first
  latest: new Map(), // clip -> reviewer -> decision
  overrides: {}, // overrides.json by clip
  present: {}, // reviewer -> clip
  auditReport: null,
  pending: 0,
  reviewer: "",
  layers: { boxes: true, tracks: true, headings: false },
  showSource: false,
  camera: null,
};

const STATES = ["accepted", "rejected", "unmeasured"];
const isStill = matchMedia("(prefers-reduced-motion: reduce)");

const waiting = new Map();
function receive(name, value) {
  const entry = waiting.get(name);
  if (entry) entry.resolve(value);
}
function fileUrl(path) {
  return typeof locateFile === "function" ? locateFile(path) : path;
}
// Loads data/<name>.mjs once; a failed load may be tried again.
function loadData(name, query = "") {
  if (waiting.has(name)) return waiting.get(name).promise;
  const entry = {};
  entry.promise = new Promise((resolve, reject) => Object.assign(entry, { resolve, reject }));
  waiting.set(name, entry);
  const script = document.createElement("script");
  script.src = fileUrl(`data/${name}.mjs`) + query;
  script.onerror = () => {
    waiting.delete(name);
    entry.reject(new Error("not available"));
  };
  script.onload = () => script.remove();
  document.head.append(script);
  return entry.promise;
}
function forgetData() {
  waiting.clear();
}

// make("button.primary", {type: "button", onclick}, "text", child, ...)
function make(what, properties = {}, ...children) {
  const [tag, ...classes] = what.split(".");
  const element = document.createElement(tag || "div");
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "data") Object.assign(element.dataset, value);
    else if (key in element && key !== "list") element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}
function button(text, title, onclick, kind = "") {
  return make("button" + kind, { type: "button", title, onclick }, text);
}
function humanize(code) {
  return code.replaceAll("_", " ").toLowerCase();
}
function number(value, digits = 2) {
  return value === null || value === undefined ? "–" : Number(value).toFixed(digits);
}
function percent(value) {
  return `${Math.round(100 * value)} %`;
}

// What counts now: overrides.json, then reviewers (a rejection wins), then the gate.
function decisionsOn(id) {
  return [...(app.latest.get(id)?.values() ?? [])].filter((one) => one.verdict !== "cleared");
}
function agreedVerdict(decisions) {
  return ["reject", "accept"].find((verdict) => decisions.some((one) => one.verdict === verdict)) ?? "";
}
function finalState(row) {
  if (app.overrides[row.id]) return app.overrides[row.id].state;
  const verdict = agreedVerdict(decisionsOn(row.id));
  return verdict ? (verdict === "accept" ? "accepted" : "rejected") : row.state;
}
function isDisputed(id) {
  const verdicts = new Set(decisionsOn(id).map((one) => one.verdict));
  return !app.overrides[id] && verdicts.has("accept") && verdicts.has("reject");
}
function mine(id) {
  const found = app.latest.get(id)?.get(app.reviewer);
  return found && found.verdict !== "cleared" ? found : null;
}
// In the blind audit, a reviewer sees neither the gate's verdict nor those of others.
function visibleDecisions(id) {
  return app.audit ? decisionsOn(id).filter((one) => one.reviewer === app.reviewer) : decisionsOn(id);
}
function addDecisions(decisions) {
  for (const one of decisions) {
    app.decisions.push(one);
    if (!app.latest.has(one.clip)) app.latest.set(one.clip, new Map());
    app.latest.get(one.clip).set(one.reviewer, one);
  }
}

function say(text, kind = "") {
  const box = document.getElementById("toasts");
  const toast = make("p.toast" + kind, {}, text);
  box.append(toast);
  setTimeout(() => toast.remove(), kind === ".bad" ? 9000 : 3500);
}
