"use strict";
const cards = [...document.querySelectorAll("article")];
const buttons = [...document.querySelectorAll("nav button")];

function show(button) {
  for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
  const code = button.dataset.code;
  for (const card of cards) card.hidden = code !== "" && !card.dataset.codes.split(" ").includes(code);
}
for (const button of buttons) button.addEventListener("click", () => show(button));

// Only videos in view play, so that a long page stays smooth; a click pauses a video until the next click.
const paused = new WeakSet();
const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting && !paused.has(target)) target.play().catch(() => {});
    else target.pause();
  }
});
for (const video of document.querySelectorAll("video")) {
  watcher.observe(video);
  video.addEventListener("click", () => {
    if (paused.delete(video)) video.play().catch(() => {});
    else { paused.add(video); video.pause(); }
  });
}
