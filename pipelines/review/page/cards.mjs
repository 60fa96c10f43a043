"use strict";
// The cards of the clips that are shown. Only those in view are in the document, so thousands scroll smoothly.

const MARKS = { accept: "✓", reject: "✕", unsure: "?" };

const cards = {
  height: 236,
  gap: 12,
  columns: 1,
  live: new Map(), // id -> card

  build() {
    this.box = document.getElementById("cards");
    this.space = make("div.space");
    this.box.append(this.space);
    let isQueued = false;
    const queue = () => {
      if (isQueued) return;
      isQueued = true;
      requestAnimationFrame(() => {
        isQueued = false;
        this.render();
      });
    };
    this.box.addEventListener("scroll", queue, { passive: true });
    new ResizeObserver(queue).observe(this.box);
  },

  layout() {
    const width = this.box.clientWidth - 2 * this.gap;
    this.columns = Math.max(1, Math.floor((width + this.gap) / (210 + this.gap)));
    this.width = (width - (this.columns - 1) * this.gap) / this.columns;
    this.height = Math.round((this.width - 2) * 0.6) + 100;
    this.space.style.height = `${Math.ceil(app.shown.length / this.columns) * (this.height + this.gap) + this.gap}px`;
  },

  render() {
    this.layout();
    const pitch = this.height + this.gap;
    const first = Math.max(0, Math.floor(this.box.scrollTop / pitch) - 2) * this.columns;
    const last = (Math.ceil((this.box.scrollTop + this.box.clientHeight) / pitch) + 2) * this.columns;
    const wanted = app.shown.slice(first, last);
    const ids = new Set(wanted.map((row) => row.id));
    for (const [id, card] of this.live) {
      if (ids.has(id)) continue;
      this.remove(card);
      this.live.delete(id);
    }
    wanted.forEach((row, i) => {
      const card = this.live.get(row.id) ?? this.add(row);
      const place = first + i;
      card.style.transform = `translate(${this.gap + (place % this.columns) * (this.width + this.gap)}px, ${this.gap + Math.floor(place / this.columns) * pitch}px)`;
      card.style.width = `${this.width}px`;
      card.style.height = `${this.height}px`;
      card.setAttribute("aria-posinset", place + 1);
      card.setAttribute("aria-setsize", app.shown.length);
      this.update(row, card);
    });
    document.getElementById("none").hidden = app.shown.length > 0;
  },

  add(row) {
    const image = make("img", { src: fileUrl(`media/${row.id}/thumb.jpg`), alt: "", loading: "lazy", draggable: false });
    const screen = make("div.media", {}, image);
    const badge = make("span.badge");
    const score = make("span.score");
    const frame = make("output.frame", { title: "frame" }, `0 / ${row.frames - 1}`);
    const controls = make("div.controls", {},
      button("◂", "previous frame", () => this.play(row).step(-1)),
      button("▶", "play or pause", () => this.toggle(row), ".play"),
      button("▸", "next frame", () => this.play(row).step(1)),
      frame);
    const card = make("article.card", { tabIndex: -1, "aria-label": row.id, data: { id: row.id } },
      screen, badge, score, make("h3", { title: row.id }, row.id), make("p.facts"), make("div.chips"), controls);
    card.addEventListener("click", (event) => {
      if (!event.target.closest("button")) select(row.id, { focus: false });
    });
    card.addEventListener("mouseenter", () => {
      if (!isStill.matches) this.play(row).play();
    });
    card.addEventListener("mouseleave", () => card.player?.pause());
    card.parts = { screen, badge, score, frame, controls };
    this.space.append(card);
    this.live.set(row.id, card);
    return card;
  },

  // The player of a card, made when it is first used: a page of thumbnails needs no videos.
  play(row) {
    const card = this.live.get(row.id);
    if (!card.player) {
      card.player = new Player({ onframe: (frame) => { card.parts.frame.textContent = `${frame} / ${row.frames - 1}`; } });
      const sync = () => { card.parts.controls.children[1].textContent = card.player.isPlaying ? "❚❚" : "▶"; };
      card.player.video.addEventListener("play", sync);
      card.player.video.addEventListener("pause", sync);
      card.parts.screen.append(card.player.element);
      card.player.show(row, fileUrl(`media/${row.id}/${row.videos[row.cameras[0]]}`));
    }
    return card.player;
  },
  toggle(row) {
    this.play(row).toggle();
  },
  remove(card) {
    card.player?.release();
    card.remove();
  },

  update(row, card) {
    const { badge, score } = card.parts;
    const isSelected = row.id === app.selected;
    card.classList.toggle("selected", isSelected);
    card.setAttribute("aria-current", String(isSelected));
    this.setReach(card, isSelected);
    const decisions = visibleDecisions(row.id);
    const state = app.audit ? "" : finalState(row);
    const key = [app.audit, state, isDisputed(row.id), decisions.map((one) => one.reviewer + one.verdict).join()].join("|");
    if (card.key === key) return;
    card.key = key;
    badge.className = `badge ${state}`;
    badge.textContent = state;
    badge.hidden = app.audit;
    score.hidden = app.audit || row.score === null;
    score.textContent = `${number(row.score)} / ${number(row.limit)}`;
    score.title = "joint score / largest accepted one";
    score.classList.toggle("over", row.score > row.limit);
    card.querySelector(".facts").textContent = [row.edit, row.domain, row.motion, row.light].filter(Boolean).join(" · ");
    card.querySelector(".chips").replaceChildren(
      ...(isDisputed(row.id) && !app.audit ? [make("span.chip.disputed", {}, "disputed")] : []),
      ...decisions.map((one) => make("span.chip." + one.verdict, { title: `${one.verdict} by ${one.reviewer} ${one.note}` }, `${MARKS[one.verdict]} ${one.reviewer}`)),
      ...(app.audit ? [] : this.reasonChips(row)));
    this.setReach(card, isSelected);
  },

  // The Tab key stops at the buttons of the selected card only, not at those of every card on the way.
  setReach(card, isSelected) {
    for (const entry of card.querySelectorAll("button")) entry.tabIndex = isSelected ? 0 : -1;
  },

  reasonChips(row) {
    const others = row.reasons.slice(1).map((reason) => humanize(reason.code)).join(", ");
    const more = make("span.chip.reason.more", { title: others }, `+${row.reasons.length - 1}`);
    return [...row.reasons.slice(0, 1).map((reason) => this.chip(row, reason)), ...(others ? [more] : [])];
  },

  chip(row, reason) {
    const jump = () => {
      select(row.id, { focus: false });
      const player = this.play(row);
      player.pause();
      player.goTo(reason.frames[0] ?? 0);
      detail.jump(reason);
    };
    const where = reason.frames.length ? ` ${frameRange(reason.frames)}` : "";
    return button(humanize(reason.code) + where, reason.text, jump, ".chip.reason");
  },

  reveal(id) {
    const place = app.shown.findIndex((row) => row.id === id);
    if (place < 0) return;
    this.layout();
    const top = this.gap + Math.floor(place / this.columns) * (this.height + this.gap);
    if (top < this.box.scrollTop) this.box.scrollTop = top - this.gap;
    else if (top + this.height > this.box.scrollTop + this.box.clientHeight) this.box.scrollTop = top + this.height + this.gap - this.box.clientHeight;
    this.render();
  },
};

function frameRange(frames) {
  const low = Math.min(...frames);
  const high = Math.max(...frames);
  return low === high ? `f${low}` : `f${low}–${high}`;
}
