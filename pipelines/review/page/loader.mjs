"use strict";
// Loads the page's files from next to it, or from the run's artifacts if MLflow shows this page as a blob.
const loaderFacts = document.currentScript.dataset;
function locateFile(path) {
  if (location.protocol !== "blob:" || !loaderFacts.mlflowRun) return path;
  const query = new URLSearchParams({ run_uuid: loaderFacts.mlflowRun, path: loaderFacts.mlflowFolder + path });
  return new URL(location.pathname).origin + "/get-artifact?" + query;
}
function loadNext(names) {
  if (names.length === 0) return;
  const script = document.createElement("script");
  script.src = locateFile(names[0]);
  script.onload = () => loadNext(names.slice(1));
  script.onerror = () => {
    document.getElementById("loading").textContent =
      "The files of this page are missing: download the whole folder and open its index.html.";
  };
  document.head.append(script);
}
const styleLink = document.createElement("link");
styleLink.rel = "stylesheet";
styleLink.href = locateFile(loaderFacts.style);
document.head.append(styleLink);
document.addEventListener("DOMContentLoaded", () => loadNext(loaderFacts.scripts.split(" ")));
