// Tile: a source → its picture, state, numbers and buttons.

import * as api from "./api.js";
import { Chart, number } from "./charts.js";
import { ShapeEditor } from "./editor.js";
import { Player } from "./player.js";
import { fileName, save } from "./recorder.js";

const MODES = {
  remux: "the source's own stream, not encoded again",
  encode: "encoded once for all viewers",
  jpeg: "single JPEGs",
};
const DROPS = [
  ["dropped_stale", "too old"],
  ["dropped_full", "queue full"],
  ["failed", "failed"],
  ["dropped_for_viewer", "for this browser, which was too slow"],
];

// Events: "enlarge", "edit", "error" (detail: a line), "stats", "events".
export class Tile extends EventTarget {
  #part;
  #isPaused = false;
  #isRecording = false;
  #state = "connecting";
  #charts = {
    fps: new Chart("Captured / inferred (all sources) / delivered FPS", ["captured", "inferred", "delivered"]),
    age: new Chart("Age p50 / p95", ["p50", "p95"], { unit: " ms", digits: 0 }),
    queue: new Chart("Queue: waiting / room", ["waiting", "room"], { digits: 0 }),
    drops: new Chart("Drops/s: too old / queue full", ["too old", "queue full"], { digits: 0 }),
  };
  #before = null;

  constructor(source) {
    super();
    this.key = source.key;
    this.name = shortName(source.name);
    this.element = document.getElementById("tile").content.firstElementChild.cloneNode(true);
    this.tile = this.element; // for tests
    this.#part = (selector) => this.element.querySelector(selector);
    this.#part("h2").textContent = this.name;
    this.#part("h2").title = source.name;
    this.element.setAttribute("aria-label", this.name);
    this.#part(".charts").append(...Object.values(this.#charts).map((chart) => chart.element));
    this.player = new Player(this.key, {
      video: this.#part("video"),
      canvas: this.#part("canvas.jpeg"),
      overlay: this.#part("canvas.overlay"),
    });
    this.editor = new ShapeEditor(this.key, {
      svg: this.#part(".editor"),
      panel: this.#part(".shapes"),
      picture: () => this.#picture(),
      counts: () => this.player.counts,
    });
    this.#listen();
    this.#addButtons();
    this.setLarge(false);
    this.showState(source);
    new ResizeObserver(() => {
      this.player.redraw();
      this.editor.redraw();
    }).observe(this.#part(".screen"));
  }

  get hasEnded() {
    return this.player.isEnded;
  }

  close() {
    this.player.close();
    this.element.remove();
  }

  // state, reason and paused of the source.
  showState({ state, reason = "", paused = false }) {
    this.#isPaused = paused;
    this.#state = paused && state !== "ended" && state !== "failed" ? "paused" : state;
    const badge = this.#part(".state");
    const text = reason && this.#state !== "live" ? `${this.#state}: ${reason}` : this.#state;
    if (badge.textContent !== text) badge.textContent = text; // said again only where it is another
    badge.dataset.state = this.#state;
    this.element.classList.toggle("is-old", ["stalled", "lost", "failed", "ended"].includes(this.#state));
    const isOver = state === "ended" || state === "failed";
    this.#part(".pause").textContent = paused ? "Go on" : "Pause";
    this.#part(".pause").disabled = this.#part(".edit").disabled = isOver;
    this.#part(".remove").textContent = isOver ? "Hide" : "Remove";
    if (["stalled", "lost"].includes(this.#state)) this.#notice(`no picture: ${reason || this.#state}`);
    else if (this.#part(".notice").textContent.startsWith("no picture")) this.#notice("");
  }

  setLarge(isLarge) {
    this.element.classList.toggle("is-large", isLarge);
    const button = this.#part(".enlarge");
    button.setAttribute("aria-pressed", isLarge);
    button.setAttribute("aria-label", isLarge ? `Show all sources beside ${this.name}` : `Enlarge ${this.name}`);
  }

  focus() {
    this.#part(".enlarge").focus();
  }

  #listen() {
    const { player } = this;
    player.addEventListener("notice", ({ detail }) => this.#notice(detail));
    player.addEventListener("init", ({ detail }) => {
      this.#part(".screen").style.aspectRatio = `${detail.w} / ${detail.h}`;
      this.#part(".mode").textContent = `${MODES[detail.mode]}${detail.reason ? `: ${detail.reason}` : ""} · ${detail.w} × ${detail.h}`;
      this.#part(".record").disabled = true;
    });
    player.addEventListener("recordable", () => {
      this.#part(".record").disabled = false;
    });
    player.addEventListener("stats", ({ detail }) => this.#showStats(detail));
    player.addEventListener("events", ({ detail }) => this.#tell("events", detail));
    player.addEventListener("end", () => this.showState({ state: "ended" }));
    player.addEventListener("recorded", ({ detail }) => {
      this.#showRecording(false);
      if (detail) save(detail, fileName(this.key, "mp4"));
      else this.#tell("error", `${this.name}: nothing was recorded, because no key frame came meanwhile`);
    });
  }

  // The element that shows pictures, and their size.
  #picture() {
    const canvas = this.#part("canvas.jpeg");
    const { w, h } = this.player.init ?? { w: 16, h: 9 };
    return { element: canvas.hidden ? this.#part("video") : canvas, width: w, height: h };
  }

  #addButtons() {
    const named = (selector, words) => this.#part(selector).setAttribute("aria-label", `${words} ${this.name}`);
    this.#part(".enlarge").addEventListener("click", () => this.#tell("enlarge", null));
    this.#part(".pause").addEventListener("click", () => this.#try(() => api.pauseSource(this.key, !this.#isPaused)));
    this.#part(".remove").addEventListener("click", () => {
      if (this.hasEnded || this.#state === "failed") this.#tell("hide", null);
      else this.#try(() => api.removeSource(this.key));
    });
    const snapshot = this.#part(".snapshot");
    named(".snapshot", "Snapshot of");
    snapshot.href = `/snapshot/${encodeURIComponent(this.key)}.jpg`;
    snapshot.addEventListener("click", () => {
      snapshot.download = fileName(this.key, "jpg");
    });
    named(".edit", "Lines and zones of");
    this.#part(".edit").addEventListener("click", () => {
      if (this.editor.isOpen) this.editor.close();
      else this.#edit();
    });
    this.editor.addEventListener("close", () => {
      this.player.hidesShapes = false;
      this.#part(".edit").setAttribute("aria-pressed", false);
      this.#part(".edit").focus();
    });
    named(".record", "Record");
    this.#part(".record").disabled = true;
    this.#part(".record").title = "Saves the pictures as they come, without boxes, to this device";
    this.#part(".record").addEventListener("click", () => {
      if (this.#isRecording) this.player.stopRecording();
      else {
        this.player.startRecording();
        this.#showRecording(true);
      }
    });
  }

  #edit() {
    this.#tell("edit", null);
    this.player.hidesShapes = true; // the editor draws them
    this.#part(".edit").setAttribute("aria-pressed", true);
    this.editor.open();
  }

  #showRecording(isRecording) {
    this.#isRecording = isRecording;
    this.#part(".record").textContent = isRecording ? "● Stop and save" : "Record";
    this.#part(".record").setAttribute("aria-pressed", isRecording);
  }

  #showStats(stats) {
    this.showState({ ...stats, state: this.hasEnded ? "ended" : stats.state ?? "connecting" });
    const { fps, age, queue, drops } = this.#charts;
    fps.add([stats.fps_captured, stats.fps_inferred, stats.fps_delivered]);
    age.add([stats.age_p50_ms, stats.age_p95_ms]);
    queue.add([stats.queue, stats.queue_capacity]);
    const before = this.#before ?? stats;
    drops.add(["dropped_stale", "dropped_full"].map((key) => Math.max(0, stats[key] - before[key])));
    this.#before = stats;
    const lost = DROPS.filter(([key]) => stats[key] > 0).map(([key, words]) => `${stats[key]} ${words}`);
    const all = number(stats.captured, 0);
    this.#part(".drops").textContent = lost.length ? `of ${all} frames dropped: ${lost.join(", ")}` : `${all} frames, none dropped`;
    this.#showGate(stats.gate);
    this.#tell("stats", stats);
  }

  // What the network looked at, and beside it how often it was missed; of a source without a gate nothing.
  #showGate(gate) {
    const line = this.#part(".gate");
    line.hidden = !gate;
    if (!gate) return;
    line.textContent = gateInWords(gate);
    line.classList.toggle("is-open", gate.open > 0);
  }

  async #try(work) {
    try {
      await work();
      this.#tell("changed", null);
    } catch (error) {
      this.#tell("error", `${this.name}: ${error.message}`);
    }
  }

  #notice(text) {
    const notice = this.#part(".notice");
    if (notice.textContent !== text) notice.textContent = text;
  }

  #tell(kind, detail) {
    this.dispatchEvent(new CustomEvent(kind, { detail }));
  }
}

function gateInWords({ duty, checked, missed, miss_rate_95: [low, high], open, every }) {
  const percent = (share, digits) => `${number(100 * share, digits)} %`;
  const checks = checked
    ? `${missed} of ${checked} checks missed an object (95 %: ${percent(low, 1)} to ${percent(high, 1)})`
    : "nothing was checked yet";
  const parts = [`the network saw ${duty === null ? "no frame yet" : `${percent(duty, 0)} of the frames`}`, checks];
  if (every) parts.push(`one in ${every} at this load`);
  if (open) parts.push("every frame is looked at, because too much was missed");
  return parts.join("; ");
}

// The last part of a file's path; an address stays as it is.
export function shortName(name) {
  return name.includes("://") ? name : name.replace(/^.*[/\\](?=.)/, "");
}
