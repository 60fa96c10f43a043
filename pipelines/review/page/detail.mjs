"use strict";
// The selected clip: player with overlays, source clip beside it, reasons, score, measures, decisions.

const detail = {
  row: null,

  build() {
    this.box = document.getElementById("detail");
    this.player = new Player({ canvas: true, onframe: (frame) => this.onFrame(frame) });
    this.source = new Player();
    this.sourceBox = make("figure.side", { hidden: true }, this.source.element, make("figcaption", {}, "source, as recorded"));
    this.screens = make("div.screens", {}, make("figure.main", {}, this.player.element, make("figcaption", {}, "generated")), this.sourceBox);
    this.frame = make("output", { id: "frame" });
    this.slider = make("input", { type: "range", id: "slider", min: 0, step: 1, "aria-label": "Frame", oninput: () => { this.player.pause(); this.player.goTo(Number(this.slider.value)); } });
    this.playButton = button("▶", "play or pause (space)", () => this.player.toggle(), ".play");
    for (const name of ["play", "pause"]) this.player.video.addEventListener(name, () => this.syncPlay());
    this.controls = make("div.controls", {},
      button("|◂", "first frame (Home)", () => { this.player.pause(); this.player.goTo(0); }),
      button("◂", "previous frame (,)", () => this.player.step(-1)),
      this.playButton,
      button("▸", "next frame (.)", () => this.player.step(1)),
      this.slider, this.frame);
    this.reasons = make("ol.reasons");
    this.layers = make("div.layers");
    this.legend = make("div.legend");
    this.head = make("div.head");
    this.meta = make("dl.meta");
    this.verdicts = make("div.verdicts");
    this.summary = make("section.joint");
    this.score = make("section.joint");
    this.box.append(this.head, this.screens, this.controls, this.verdicts, this.layers, this.legend, this.summary, this.reasons, this.score, this.meta);
    this.buildLayers();
    decide.build(this.verdicts);
  },

  buildLayers() {
    const layer = (key, text, hint) => {
      const field = make("input", { type: "checkbox", checked: app.layers[key], data: { layer: key }, onchange: () => { app.layers[key] = field.checked; this.drawLegend(); this.player.draw(); } });
      return make("label", { title: `${text} (${hint})` }, field, text);
    };
    this.sourceField = make("input", { type: "checkbox", id: "source", onchange: () => { app.showSource = this.sourceField.checked; this.showVideos(); } });
    this.cameras = make("div.cameras", { role: "group", "aria-label": "Camera" });
    this.layers.append(
      layer("boxes", "boxes", "1"), layer("tracks", "tracks", "2"), layer("headings", "epipoles", "3"),
      make("label", { title: "source clip beside it (s)", hidden: !app.table.sources }, this.sourceField, "source clip"),
      app.table.sheets ? button("measured sheet", "all measures on one picture (m)", () => this.openSheet(), ".quiet") : "",
      button("link", "a link to this clip and frame (l)", () => this.copyLink(), ".quiet"),
      this.cameras);
    this.drawLegend();
  },

  drawLegend() {
    const item = (kind, text) => make("span", {}, make("i." + kind), text);
    const rows = [];
    if (app.layers.boxes) rows.push(item("box", "commanded box"), ...(app.audit ? [] : [item("marked", "box named by a reason")]));
    if (app.layers.tracks) {
      if (app.audit) rows.push(item("point", "tracked point"));
      else rows.push(make("span", {}, make("i.ramp"), "residual to the command, 0 to 2 px of 256 rows"), item("point", "background point"), item("square", "point on an object"), item("lost", "point lost here"));
    }
    if (app.layers.headings) rows.push(item("commanded", "commanded epipole"), item("observed", "observed epipole"));
    this.legend.replaceChildren(...rows);
    this.legend.hidden = rows.length === 0;
  },

  show(row, frame = 0) {
    this.row = row;
    this.box.classList.toggle("empty", !row);
    if (!row) return;
    app.camera = row.cameras.includes(app.camera) ? app.camera : row.cameras[0];
    this.slider.max = row.frames - 1;
    this.drawHead();
    this.drawReasons();
    this.drawCameras();
    this.showVideos(frame);
    this.drawAbout();
    decide.draw();
  },

  drawHead() {
    const { row } = this;
    const state = finalState(row);
    const title = make("h2", { title: row.id }, row.id);
    const facts = [row.edit, row.domain, row.motion, row.light, `seed ${row.seed}`].filter(Boolean).join(" · ");
    this.head.replaceChildren(title, ...(app.audit ? [] : [make("span.badge." + state, {}, state)]), make("p.facts", {}, facts));
    if (!app.audit && state !== row.state) this.head.append(make("p.facts.overruled", {}, `The gate says ${row.state}.`));
    const facts2 = [["Caption", row.caption], ["Source", row.source], ["Split", row.split], ["Model", row.model], ["Size", `${row.size[0]} × ${row.size[1]}, ${row.frames} frames at ${number(row.rate, 1)} Hz`]];
    this.meta.replaceChildren(...facts2.filter((pair) => pair[1]).flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]));
  },

  drawReasons() {
    const { row } = this;
    this.reasonAt = -1;
    this.reasons.hidden = app.audit;
    this.reasons.replaceChildren(...(app.audit ? [] : row.reasons).map((reason) => {
      const strip = make("span.strip", { "aria-hidden": "true" });
      for (const frame of reason.frames) {
        const mark = make("i");
        mark.style.left = `${(100 * frame) / row.frames}%`;
        mark.style.width = `${100 / row.frames}%`;
        strip.append(mark);
      }
      const where = reason.frames.length ? `jump to ${frameRange(reason.frames)}` : "whole clip";
      const go = button(where, "jump to the frames of this reason (f: next)", () => this.jump(reason), ".jump");
      go.disabled = reason.frames.length === 0;
      return make("li", {}, make("b", {}, humanize(reason.code)), go, make("p", {}, reason.text), strip);
    }));
  },

  drawCameras() {
    const { row } = this;
    this.cameras.hidden = row.cameras.length < 2;
    this.cameras.replaceChildren(...row.cameras.map((name) => {
      const tab = button(name, `camera ${name} (c: next)`, () => this.chooseCamera(name), ".quiet");
      tab.setAttribute("aria-pressed", String(name === app.camera));
      return tab;
    }));
  },

  chooseCamera(name) {
    app.camera = name;
    this.drawCameras();
    this.showVideos(this.player.frame);
  },

  showVideos(frame = this.player.frame) {
    const { row } = this;
    const wasPlaying = this.player.isPlaying;
    this.player.show(row, fileUrl(`media/${row.id}/${row.videos[app.camera]}`), frame);
    this.screens.classList.toggle("both", app.showSource);
    this.sourceBox.hidden = !app.showSource;
    if (app.showSource) this.source.show(row, fileUrl(`media/${row.id}/source/${row.videos[app.camera]}`), frame);
    else if (this.source.url) this.source.release();
    this.sourceField.checked = app.showSource;
    if (wasPlaying) this.player.play();
    this.loadOverlay();
  },

  async loadOverlay() {
    const { row } = this;
    const camera = app.camera;
    try {
      const overlay = await loadData(`overlays/${row.id}/${row.videos[camera]}`);
      if (this.row === row && app.camera === camera) this.player.setOverlay(overlay);
    } catch {
      if (this.row === row) this.player.setOverlay(null);
    }
  },

  async drawAbout() {
    const { row } = this;
    this.score.hidden = this.summary.hidden = app.audit;
    if (app.audit) return;
    this.summary.replaceChildren();
    this.score.replaceChildren(make("p.hint", {}, "Loading the measures …"));
    try {
      const about = await loadData(`clips/${row.id}`);
      if (this.row === row && !app.audit) drawScore(this.summary, this.score, about);
    } catch {
      if (this.row === row) this.score.replaceChildren(make("p.hint", {}, "The measures of this clip are not in this copy."));
    }
  },

  onFrame(frame) {
    if (!this.row) return;
    this.slider.value = frame;
    this.frame.textContent = `frame ${frame} of ${this.row.frames - 1} · ${number(frame / this.row.rate)} s`;
    if (app.showSource && this.source.url && this.source.frame !== frame) this.source.goTo(frame);
  },

  syncPlay() {
    this.playButton.textContent = this.player.isPlaying ? "❚❚" : "▶";
    if (!this.player.isPlaying) writeLink();
  },

  // Jumps to the first frame that the reason names, in the camera that it names.
  jump(reason) {
    const camera = reason.measure.includes("/") ? reason.measure.split("/")[0] : this.row.cameras[0];
    if (this.row.cameras.includes(camera) && camera !== app.camera) this.chooseCamera(camera);
    this.player.pause();
    this.player.goTo(Math.min(...reason.frames, this.row.frames - 1));
    this.reasonAt = this.row.reasons.indexOf(reason);
    [...this.reasons.children].forEach((item, i) => item.classList.toggle("current", i === this.reasonAt));
    writeLink();
  },
  jumpNext() {
    const named = this.row?.reasons.filter((reason) => reason.frames.length) ?? [];
    if (named.length && !app.audit) this.jump(named[(named.indexOf(this.row.reasons[this.reasonAt]) + 1) % named.length]);
  },

  openSheet() {
    if (!this.row || app.audit || !app.table.sheets) return;
    const dialog = document.getElementById("sheet");
    const text = make("p", {}, "Measuring the clip again to draw it …");
    const image = make("img", { alt: `measured sheet of ${this.row.id}`, src: fileUrl(`media/${this.row.id}/sheet.png`) });
    image.onload = () => text.remove();
    image.onerror = () => { text.textContent = "The measured sheet of this clip is not available here."; };
    dialog.replaceChildren(make("header", {}, make("b", {}, this.row.id), button("close", "close (Escape)", () => dialog.close())), text, image);
    dialog.showModal();
  },

  copyLink() {
    writeLink();
    navigator.clipboard?.writeText(location.href).then(() => say("Link copied."), () => say("The link is in the address bar."));
  },
};

function writeLink() {
  if (!app.selected || location.protocol === "blob:") return;
  const facts = new URLSearchParams({ clip: app.selected, frame: detail.player.frame });
  history.replaceState(null, "", `#${facts}`);
}

function select(id, { focus = true, frame = 0 } = {}) {
  if (id !== app.selected) {
    app.selected = id;
    const row = id ? app.byId.get(id) : null;
    detail.show(row, frame);
    cards.render();
    if (row) writeLink();
    if (row && !isStill.matches) detail.player.play();
  }
  if (focus && id) cards.reveal(id);
}
