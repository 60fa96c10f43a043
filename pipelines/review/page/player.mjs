"use strict";
// A video that steps frame by frame, with a canvas over it for boxes, tracks and headings.

// At most one player on the cards plays; the large one plays independently.
class Player {
  constructor({ onframe = () => {}, canvas = false } = {}) {
    this.onframe = onframe;
    this.frame = 0;
    this.row = null;
    this.overlay = null;
    this.video = make("video", { muted: true, loop: true, playsInline: true, preload: "auto", tabIndex: -1 });
    this.video.disablePictureInPicture = true;
    this.canvas = canvas ? make("canvas", { "aria-hidden": "true" }) : null;
    this.problem = make("p.problem", { hidden: true });
    this.element = make("div.screen", {}, this.video, this.canvas, this.problem);
    this.video.addEventListener("error", () => this.fail("This video is not available here."));
    this.video.addEventListener("seeked", () => this.settle());
    this.video.addEventListener("loadeddata", () => this.settle());
    this.video.addEventListener("play", () => this.watch());
    this.video.addEventListener("pause", () => this.settle());
    if (this.canvas) new ResizeObserver(() => this.draw()).observe(this.video);
  }

  // Shows a camera of a clip; keeps the frame number if the clip stays the same.
  show(row, url, frame = 0) {
    if (this.url === url) return;
    this.row = row;
    this.url = url;
    this.overlay = null;
    this.problem.hidden = true;
    this.video.src = url;
    this.goTo(frame);
  }

  fail(text) {
    if (!this.video.getAttribute("src")) return;
    this.problem.textContent = text;
    this.problem.hidden = false;
  }

  release() {
    this.video.pause();
    this.video.removeAttribute("src");
    this.video.load();
    this.url = null;
  }

  get rate() {
    return this.row.rate;
  }

  frameAt(seconds) {
    return Math.max(0, Math.min(this.row.frames - 1, Math.floor(seconds * this.rate + 1e-3)));
  }

  watch() {
    const step = (now, facts) => {
      if (!this.url || this.video.paused) return;
      this.report(this.frameAt(facts ? facts.mediaTime + 1e-3 : this.video.currentTime));
      this.video.requestVideoFrameCallback(step);
    };
    this.video.requestVideoFrameCallback(step);
  }

  settle() {
    if (this.row && this.video.paused) this.report(this.frameAt(this.video.currentTime));
  }

  report(frame) {
    this.frame = frame;
    this.draw();
    this.onframe(frame);
  }

  // The middle of a frame, so that rounding cannot show its neighbor.
  goTo(frame) {
    this.frame = Math.max(0, Math.min(this.row.frames - 1, frame));
    this.video.currentTime = (this.frame + 0.5) / this.rate;
    this.draw();
    this.onframe(this.frame);
  }

  step(by) {
    this.pause();
    this.goTo((this.frame + by + this.row.frames) % this.row.frames);
  }

  get isPlaying() {
    return !this.video.paused;
  }
  play() {
    this.video.play().catch(() => {});
  }
  pause() {
    this.video.pause();
  }
  toggle() {
    if (this.isPlaying) this.pause();
    else this.play();
  }

  setOverlay(overlay) {
    this.overlay = overlay;
    this.draw();
  }

  draw() {
    if (!this.canvas) return;
    const density = devicePixelRatio || 1;
    const width = Math.round(this.video.clientWidth * density);
    const height = Math.round(this.video.clientHeight * density);
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    const context = this.canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    const shown = this.overlay?.frames[this.frame];
    if (shown) drawOverlay(context, this, shown, density);
  }
}

function drawOverlay(context, player, shown, density) {
  const { width, height } = player.overlay;
  const scale = Math.min(context.canvas.width / width, context.canvas.height / height);
  const left = (context.canvas.width - width * scale) / 2;
  const top = (context.canvas.height - height * scale) / 2;
  const at = ([x, y]) => [left + (x + 0.5) * scale, top + (y + 0.5) * scale];
  const pen = { context, at, unit: density };
  context.lineJoin = context.lineCap = "round";
  context.save();
  context.beginPath();
  context.rect(left, top, width * scale, height * scale);
  context.clip();
  if (app.layers.boxes) for (const box of shown.boxes) drawBox(pen, box, player);
  if (app.layers.tracks) {
    drawTrails(pen, shown.tracks, player.overlay.bad_px, false);
    drawTrails(pen, shown.object_tracks, player.overlay.bad_px, true);
  }
  if (app.layers.headings) {
    drawCross(pen, shown.commanded, "#ffffff", false);
    drawCross(pen, shown.observed, "#ff4fd8", true);
  }
  context.restore();
}

const BOX_COLOR = "#4aa8ff";
const MARKED_COLOR = "#ff3b47";

function drawBox({ context, at, unit }, box, player) {
  const object = player.overlay.objects[box.object];
  const isMarked = !app.audit && player.row.reasons.some((reason) => reason.track && reason.track === object.id);
  context.strokeStyle = isMarked ? MARKED_COLOR : BOX_COLOR;
  context.lineWidth = unit * (isMarked ? 2 : box.judged ? 1.3 : 0.7);
  const points = box.points.map(at);
  context.beginPath();
  if (box.judged) {
    for (const [a, b] of player.overlay.edges) {
      context.moveTo(...points[a]);
      context.lineTo(...points[b]);
    }
  } else {
    context.moveTo(...points[points.length - 1]);
    for (const point of points) context.lineTo(...point);
  }
  context.stroke();
  if (!box.judged && !isMarked) return;
  const x = Math.max(2 * unit, Math.min(...points.map((point) => point[0])));
  const y = Math.max(12 * unit, Math.min(...points.map((point) => point[1])) - 3 * unit);
  context.font = `600 ${11 * unit}px system-ui, sans-serif`;
  const label = `${object.name} ${object.id.length > 12 ? object.id.slice(0, 6) + "…" : object.id}`;
  context.fillStyle = "rgb(0 0 0 / .6)";
  context.fillRect(x - 2 * unit, y - 10 * unit, context.measureText(label).width + 4 * unit, 13 * unit);
  context.fillStyle = isMarked ? "#ff9aa0" : "#a9d6ff";
  context.fillText(label, x, y);
}

// Green if a track agrees with the command, over yellow and orange to red at badPx; gray without a command.
const RAMP = [[25, 216, 75], [242, 225, 76], [255, 154, 31], [255, 31, 46]];
function residualColor(residual, badPx) {
  if (residual === null) return "#d0d0d0";
  const place = Math.min(1, residual / badPx) * (RAMP.length - 1);
  const low = Math.min(RAMP.length - 2, Math.floor(place));
  const mixed = RAMP[low].map((value, i) => Math.round(value + (place - low) * (RAMP[low + 1][i] - value)));
  return `rgb(${mixed.join(" ")})`;
}

function drawTrails({ context, at, unit }, trails, badPx, isObject) {
  if (!trails.points) return;
  context.lineWidth = 1.2 * unit;
  trails.points.forEach((points, i) => {
    const color = app.audit ? "#d0d0d0" : residualColor(trails.residual[i], badPx);
    context.strokeStyle = context.fillStyle = color;
    const path = points.map(at);
    context.beginPath();
    path.forEach((point) => context.lineTo(...point));
    context.stroke();
    const [x, y] = path[path.length - 1];
    context.beginPath();
    if (isObject) context.rect(x - 2.2 * unit, y - 2.2 * unit, 4.4 * unit, 4.4 * unit);
    else context.arc(x, y, 2 * unit, 0, 7);
    context.fill();
  });
  context.strokeStyle = MARKED_COLOR;
  for (const point of app.audit ? [] : trails.lost) drawMark(context, at(point), 3 * unit, true);
}

function drawCross({ context, at, unit }, point, color, isDiagonal) {
  if (!point) return;
  for (const [width, stroke] of [[5, "rgb(0 0 0 / .7)"], [2.2, color]]) {
    context.lineWidth = width * unit;
    context.strokeStyle = stroke;
    drawMark(context, at(point), 9 * unit, isDiagonal);
  }
}

function drawMark(context, [x, y], size, isDiagonal) {
  context.beginPath();
  const [a, b] = isDiagonal ? [size * 0.8, size * 0.8] : [size, 0];
  context.moveTo(x - a, y - b);
  context.lineTo(x + a, y + b);
  context.moveTo(x - b, y + a);
  context.lineTo(x + b, y - a);
  context.stroke();
}
