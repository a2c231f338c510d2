// Main: the sources of the run → a tile for each, and the panel; looks again and again who has come and gone.

import * as api from "./api.js";
import { DetectionTable } from "./detections.js";
import { EventList } from "./events.js";
import { Settings } from "./settings.js";
import { CountTable } from "./shapes.js";
import { addTheme } from "./theme.js";
import { Tile, shortName } from "./tile.js";

const LOOK_MS = 2000;
const TABLE_MS = 500;
const part = (id) => document.getElementById(id);
const tiles = new Map(); // by key
const hidden = new Set(); // keys of ended sources that the user does not want to see
const grid = part("grid");
const settings = new Settings((line) => trouble("settings", line));
const detections = new DetectionTable();
const counts = new CountTable();
const events = new EventList();
const troubles = new Map(); // lines by what they are about
let large = null;
let hasSettings = false;

window.__players = tiles; // for tests

function trouble(about, line) {
  if (line) troubles.set(about, line);
  else troubles.delete(about);
  part("trouble").hidden = troubles.size === 0;
  part("trouble").textContent = [...troubles.values()].join(" · ");
}

function link(state, text) {
  if (part("link").textContent !== text) part("link").textContent = text;
  part("link").dataset.state = state;
}

function add(source) {
  const tile = new Tile(source);
  tile.addEventListener("enlarge", () => enlarge(large === tile ? null : tile));
  tile.addEventListener("edit", () => {
    if (large !== tile) enlarge(tile);
  });
  tile.addEventListener("error", ({ detail }) => trouble(tile.key, detail));
  tile.addEventListener("changed", () => {
    trouble(tile.key, "");
    look();
  });
  tile.addEventListener("hide", () => {
    hidden.add(tile.key);
    drop(tile);
  });
  tile.addEventListener("events", ({ detail }) => events.add(tile.name, detail));
  tile.addEventListener("stats", ({ detail }) => {
    const words = [detail.model, detail.device && `on ${detail.device} ${detail.precision}`];
    part("run").textContent = words.filter(Boolean).join(" ");
  });
  tiles.set(tile.key, tile);
  grid.append(tile.element);
}

function drop(tile) {
  if (large === tile) enlarge(null);
  tile.close();
  tiles.delete(tile.key);
}

function enlarge(tile) {
  if (large !== tile) large?.editor.close();
  large?.setLarge(false);
  const before = large;
  large = tile;
  large?.setLarge(true);
  grid.classList.toggle("enlarged", large !== null);
  (large ?? before)?.focus();
}

function showEmpty() {
  const empty = grid.querySelector(".empty");
  if (tiles.size) empty?.remove();
  else if (!empty) {
    const box = Object.assign(document.createElement("div"), { className: "empty" });
    const text = Object.assign(document.createElement("p"), { textContent: "There are no sources now." });
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: "Add a source" });
    button.addEventListener("click", openAdd);
    box.append(text, button);
    grid.append(box);
  }
}

async function look() {
  try {
    const sources = await api.sources();
    link("live", "connected");
    trouble("link", "");
    if (part("locked").open) part("locked").close();
    if (!hasSettings) {
      await settings.load();
      hasSettings = true;
    }
    for (const source of sources) take(source);
    for (const tile of [...tiles.values()]) if (!sources.some(({ key }) => key === tile.key)) drop(tile);
    showEmpty();
    for (const event of await api.events()) events.add(shortName(event.source), [event]);
  } catch (error) {
    hasSettings = false; // they may be others when it is back
    if (error.status === 401 && !part("locked").open) part("locked").showModal();
    link("lost", error.status === 401 ? "token needed" : "not connected");
    trouble("link", error.status === 401 ? "" : `${error.message}; trying again …`);
  }
}

function take(source) {
  const tile = tiles.get(source.key);
  const isOver = source.state === "ended" || source.state === "failed";
  if (tile) {
    if (tile.hasEnded && !isOver) tile.player.reconnect();
    tile.showState(source);
  } else if (!isOver) {
    hidden.delete(source.key);
    add(source);
  } else if (source.state === "failed" && !hidden.has(source.key)) add(source);
}

async function lookForever() {
  await look();
  setTimeout(lookForever, LOOK_MS);
}

function openAdd() {
  part("add").querySelector(".error").textContent = "";
  part("add").showModal();
}

function addPanel() {
  const button = part("show-panel");
  const show = (isShown) => {
    document.body.classList.toggle("without-panel", !isShown);
    button.setAttribute("aria-expanded", isShown);
    button.textContent = isShown ? "Hide panel" : "Show panel";
  };
  button.addEventListener("click", () => show(document.body.classList.contains("without-panel")));
  show(true);
}

function addDialogs() {
  part("show-add").addEventListener("click", openAdd);
  part("add-cancel").addEventListener("click", () => part("add").close());
  part("add").querySelector("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const name = part("add-name").value.trim();
    try {
      await api.addSource({ url: part("add-url").value.trim(), ...(name ? { name } : {}) });
      event.target.reset();
      part("add").close();
      await look();
    } catch (error) {
      part("add").querySelector(".error").textContent = error.message;
    }
  });
  part("locked").addEventListener("cancel", (event) => event.preventDefault());
  part("locked").querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    location.assign(`/?open=${encodeURIComponent(part("token").value.trim())}`);
  });
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && large && !document.querySelector("dialog[open]")) enlarge(null);
});
addTheme(part("theme"));
addPanel();
addDialogs();
setInterval(() => {
  if (document.hidden) return;
  const shown = large ? [large] : [...tiles.values()];
  detections.show(shown.filter((tile) => !tile.hasEnded));
  counts.show(shown);
  for (const tile of shown) if (tile.editor.isOpen) tile.editor.showWarnings();
}, TABLE_MS);
lookForever();
