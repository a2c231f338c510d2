// Main: the sources of the run → a tile with a player for each; looks every few seconds who has come and gone.

import * as api from "./api.js";
import { Player } from "./player.js";

const LOOK_MS = 2000;
const MODES = {
  remux: "the source's own stream",
  encode: "encoded once for all viewers",
  jpeg: "single JPEGs",
};
const tiles = new Map(); // by key
const grid = document.getElementById("grid");
const run = document.getElementById("run");

window.__players = tiles; // for tests

function number(value, digits = 1) {
  return value === null || value === undefined ? "–" : value.toFixed(digits);
}

function tileOf(source) {
  const tile = document.getElementById("tile").content.firstElementChild.cloneNode(true);
  const part = (selector) => tile.querySelector(selector);
  part("h2").textContent = source.name;
  tile.setAttribute("aria-label", source.name);
  const player = new Player(source.key, {
    video: part("video"),
    canvas: part("canvas.jpeg"),
    overlay: part("canvas.overlay"),
  });
  player.addEventListener("notice", ({ detail }) => {
    part(".notice").textContent = detail;
  });
  player.addEventListener("init", ({ detail }) => {
    part(".screen").style.aspectRatio = `${detail.w} / ${detail.h}`;
    part(".mode").textContent = `${MODES[detail.mode]}${detail.reason ? `: ${detail.reason}` : ""}`;
  });
  player.addEventListener("stats", ({ detail }) => {
    const lost = detail.dropped_stale + detail.dropped_full;
    part(".numbers").textContent =
      `${detail.state}${detail.paused ? ", paused" : ""} · ${number(detail.fps_captured)} captured, ` +
      `${number(detail.fps_delivered)} delivered/s · age ${number(detail.age_p50_ms, 0)} ms, ` +
      `p95 ${number(detail.age_p95_ms, 0)} ms · ${lost} dropped`;
    run.textContent = `${detail.model} on ${detail.device} ${detail.precision}`;
  });
  grid.append(tile);
  return { tile, player };
}

async function look() {
  try {
    const sources = await api.sources();
    for (const source of sources) {
      if (!tiles.has(source.key) && source.state !== "ended") tiles.set(source.key, tileOf(source));
    }
    grid.classList.toggle("single", tiles.size === 1);
  } catch (error) {
    run.textContent = error.message;
  }
  setTimeout(look, LOOK_MS);
}

look();
