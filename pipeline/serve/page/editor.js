// Editor: a source's lines and zones on its picture → moved, drawn, renamed and deleted ones, in effect at once, and saved.
//
// With the mouse or a finger: points and whole shapes are dragged; a dot between two points of a zone makes a new one. With the
// keyboard: Tab reaches every point, arrow keys move it by 1 % (with Shift 0.1 %), Delete takes it out, Insert adds one behind it.

import * as api from "./api.js";
import { contentRect } from "./overlay.js";

const SVG = "http://www.w3.org/2000/svg";
const STEP = 0.01; // of the picture, by an arrow key
const LEAST = 0.01; // length of a line that is drawn, in shares of the picture
const CLOSE_PX = 14; // to the first point of a zone, which closes it
const ARROW_PX = 18;
const WORDS = { lines: "line", zones: "zone" };
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const DEFAULTS = { lines: [[0.25, 0.5], [0.75, 0.5]], zones: [[0.3, 0.3], [0.7, 0.3], [0.7, 0.7], [0.3, 0.7]] };
const HINTS = { lines: "Drag on the picture to draw a line; Escape stops.", zones: "Click the corners of the zone; the first one, or Enter, closes it." };

// Events: "close".
export class ShapeEditor extends EventTarget {
  #key;
  #svg;
  #panel;
  #picture; // → { element, width, height }: what shows, and the size of the pictures in which points are
  #counts; // → the counts of the newest message
  #shapes = []; // { kind, name, points in shares, typed: points as the run has them, or null once moved, own: other settings }
  #state = {}; // as the run gave it
  #drawing = null; // { kind, points } while a shape is drawn
  #sending = null; // a promise while changes are sent
  #isDirty = false; // there is something to send
  #error = "";
  isOpen = false;

  constructor(key, { svg, panel, picture, counts }) {
    super();
    this.#key = key;
    this.#svg = svg;
    this.#panel = panel;
    this.#picture = picture;
    this.#counts = counts;
    const on = (selector, work) => panel.querySelector(selector).addEventListener("click", work);
    on(".add-line", (event) => this.#begin("lines", event));
    on(".add-zone", (event) => this.#begin("zones", event));
    on(".save", () => this.#save());
    on(".done", () => this.close());
    svg.addEventListener("pointerdown", (event) => this.#press(event));
    svg.addEventListener("pointermove", (event) => this.#preview(event));
    for (const part of [svg, panel]) part.addEventListener("keydown", (event) => this.#escape(event));
  }

  async open() {
    this.isOpen = true;
    this.#error = "";
    try {
      this.#take(await api.shapes(this.#key));
    } catch (error) {
      this.#error = error.message;
    }
    this.#svg.toggleAttribute("hidden", false);
    this.#panel.hidden = false;
    this.#build();
    this.#panel.querySelector(".add-line").focus();
  }

  close() {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.#drawing = null;
    this.#svg.toggleAttribute("hidden", true);
    this.#panel.hidden = true;
    this.dispatchEvent(new CustomEvent("close"));
  }

  // Draw again: the size of the element has changed.
  redraw() {
    if (this.isOpen) this.#place();
  }

  // Say which shapes hardly an object gets to.
  showWarnings() {
    const names = this.#counts()?.unreachable ?? [];
    this.#panel.querySelectorAll("li").forEach((row, index) => {
      const warning = row.querySelector(".warning");
      const text = names.includes(this.#shapes[index]?.name) ? "too near to the edge: hardly an object gets there" : "";
      if (warning.textContent !== text) warning.textContent = text;
    });
  }

  // The run's shapes.

  #take(state) {
    this.#state = state;
    const { width, height } = this.#picture();
    this.#shapes = ["lines", "zones"].flatMap((kind) =>
      Object.entries(state[kind]).map(([name, { points, ...own }]) => {
        const isPixels = points.flat().some((number) => number > 1);
        const shares = points.map(([x, y]) => (isPixels ? [x / width, y / height] : [x, y]));
        return { kind, name, own, typed: points, points: shares };
      }),
    );
  }

  #send() {
    const names = this.#shapes.map(({ name }) => name);
    const twice = names.find((name, index) => names.indexOf(name) !== index);
    this.#error = twice === undefined ? "" : `Two shapes are called ${twice}; give one another name.`;
    this.#isDirty = twice === undefined;
    if (this.#isDirty) this.#sending ??= this.#sendAll();
    else this.#say();
  }

  // When all changes have been answered; for tests, and before they are saved.
  async settled() {
    await this.#sending;
  }

  // Send what there is, and what has changed meanwhile.
  async #sendAll() {
    while (this.#isDirty) {
      this.#isDirty = false;
      const values = { lines: {}, zones: {} };
      for (const { kind, name, points, typed, own } of this.#shapes) values[kind][name] = { points: typed ?? points, ...own };
      try {
        this.#state = await api.changeShapes(this.#key, values);
        this.#error = "";
      } catch (error) {
        this.#error = `Not in effect: ${error.message}`;
      }
    }
    this.#sending = null;
    this.#say();
  }

  async #save() {
    await this.settled();
    if (this.#error) return;
    try {
      const { file } = await api.saveShapes(this.#key);
      this.#state = { ...this.#state, file, is_saved: true };
      this.#error = "";
    } catch (error) {
      this.#error = error.message;
    }
    this.#say();
  }

  #say() {
    const { obstacle, file, file_obstacle: fileObstacle, is_saved: isSaved, yaml } = this.#state;
    const part = (selector) => this.#panel.querySelector(selector);
    part(".error").textContent = this.#error || obstacle || "";
    const says = this.#drawing ? HINTS[this.#drawing.kind] : this.#error || obstacle ? "" : "What you draw counts from the next frame on.";
    if (part(".hint").textContent !== says) part(".hint").textContent = says;
    for (const selector of [".add-line", ".add-zone"]) part(selector).disabled = Boolean(obstacle);
    const save = part(".save");
    save.hidden = Boolean(fileObstacle);
    save.textContent = isSaved ? `Saved in ${file}` : `Save to ${file}`;
    save.disabled = Boolean(isSaved) || Boolean(this.#error) || Boolean(obstacle);
    part("details").hidden = !fileObstacle || !yaml;
    part("details p").textContent = fileObstacle ?? "";
    part("pre").textContent = yaml ?? "";
  }

  // Elements.

  // Make the elements of all shapes. focus: [index of a shape, of a point; -1: of the shape itself] that gets the focus.
  #build(focus = null) {
    this.#svg.replaceChildren(...this.#shapes.map((shape, index) => this.#group(shape, index)), this.#draft());
    this.#panel.querySelector("ul").replaceChildren(...this.#shapes.map((shape, index) => this.#row(shape, index)));
    this.#panel.querySelector(".none").hidden = this.#shapes.length > 0;
    this.#place();
    this.#say();
    this.showWarnings();
    if (focus) this.#svg.children[focus[0]]?.querySelectorAll("[tabindex]")[focus[1] + 1]?.focus();
  }

  #group(shape, index) {
    const group = element("g", { class: `shape ${WORDS[shape.kind]}` });
    const body = element("path", { class: "body", tabindex: 0, role: "button" });
    this.#makeMovable(body, index, () => shape.points.map((_, point) => point));
    group.append(element("path", { class: "edge" }), element("path", { class: "stroke" }), body, element("text", { class: "name" }));
    shape.points.forEach((_, point) => {
      const handle = element("circle", { class: "point", r: 8, tabindex: 0, role: "button" });
      this.#makeMovable(handle, index, () => [point]);
      handle.addEventListener("keydown", (event) => this.#editPoint(event, index, point));
      group.append(handle);
      if (shape.kind === "zones") {
        const middle = element("circle", { class: "middle", r: 5 });
        middle.addEventListener("pointerdown", (event) => {
          event.stopPropagation();
          this.#insert(index, point);
          this.#svg.children[index].querySelectorAll(".point")[point + 1].dispatchEvent(new PointerEvent("pointerdown", event));
        });
        group.append(middle);
      }
    });
    return group;
  }

  #draft() {
    const group = element("g", { class: "draft" });
    group.append(element("path", { class: "edge" }), element("path", { class: "stroke" }));
    return group;
  }

  #row(shape, index) {
    const row = document.createElement("li");
    const name = Object.assign(document.createElement("input"), { value: shape.name, maxLength: 60, spellcheck: false });
    name.setAttribute("aria-label", `Name of the ${WORDS[shape.kind]}`);
    name.addEventListener("change", () => {
      shape.name = name.value.trim();
      this.#place();
      this.#send();
    });
    const kind = Object.assign(document.createElement("span"), { className: `kind ${WORDS[shape.kind]}`, textContent: WORDS[shape.kind] });
    const swap = button("Swap in/out", () => {
      shape.points.reverse();
      shape.typed = null;
      this.#place();
      this.#send();
    });
    const remove = button("Delete", () => {
      this.#shapes.splice(index, 1);
      this.#build();
      this.#send();
      (this.#panel.querySelectorAll("li input")[index] ?? this.#panel.querySelector(".add-line")).focus();
    });
    remove.setAttribute("aria-label", `Delete ${shape.name}`);
    row.append(kind, name, ...(shape.kind === "lines" ? [swap] : []), remove);
    row.append(Object.assign(document.createElement("span"), { className: "warning" }));
    return row;
  }

  // Put all elements where their points are.
  #place() {
    const { x, y, width, height } = this.#rect();
    const toGlass = ([shareX, shareY]) => [x + shareX * width, y + shareY * height];
    this.#shapes.forEach((shape, index) => {
      const group = this.#svg.children[index];
      const points = shape.points.map(toGlass);
      const isClosed = shape.kind === "zones";
      const outline = path(points, isClosed);
      group.querySelector(".body").setAttribute("d", outline);
      group.querySelector(".body").setAttribute("aria-label", `${shape.name}, ${WORDS[shape.kind]}; arrow keys move it`);
      for (const selector of [".edge", ".stroke"]) group.querySelector(selector).setAttribute("d", isClosed ? outline : outline + arrow(points));
      const name = group.querySelector(".name");
      const at = isClosed ? belowTop(points) : besideOf(points);
      name.textContent = shape.name;
      place(name, { x: at[0], y: at[1] });
      group.querySelectorAll(".point").forEach((handle, point) => {
        place(handle, { cx: points[point][0], cy: points[point][1] });
        const [shareX, shareY] = shape.points[point].map((share) => `${(100 * share).toFixed(1)} %`);
        handle.setAttribute("aria-label", `${shape.name}, point ${point + 1} of ${points.length}: ${shareX}, ${shareY}`);
      });
      group.querySelectorAll(".middle").forEach((middle, point) => {
        const [cx, cy] = middleOf([points[point], points[(point + 1) % points.length]]);
        place(middle, { cx, cy });
      });
    });
    const draft = this.#drawing ? path(this.#drawing.points.map(toGlass), false) : "";
    for (const stroke of this.#svg.lastElementChild?.children ?? []) stroke.setAttribute("d", draft);
    this.#svg.classList.toggle("is-drawing", this.#drawing !== null);
  }

  #rect() {
    const { element: shown, width, height } = this.#picture();
    return contentRect(shown, width, height);
  }

  // Where a pointer is, in shares of the picture.
  #shareOf(event) {
    const box = this.#svg.getBoundingClientRect();
    const { x, y, width, height } = this.#rect();
    return [(event.clientX - box.left - x) / width, (event.clientY - box.top - y) / height].map(within);
  }

  // Moving.

  #makeMovable(handle, index, pointsOf) {
    handle.addEventListener("pointerdown", (event) => {
      if (this.#drawing) return;
      event.stopPropagation();
      event.preventDefault();
      handle.focus();
      this.#drag(event, index, pointsOf());
    });
    handle.addEventListener("keydown", (event) => {
      const step = ARROWS[event.key];
      if (!step) return;
      event.preventDefault();
      const share = event.shiftKey ? STEP / 10 : STEP;
      this.#move(index, pointsOf(), this.#shapes[index].points, step.map((way) => way * share));
      this.#send();
    });
  }

  #drag(event, index, points) {
    const begin = this.#shareOf(event);
    const before = this.#shapes[index].points;
    const move = (moved) => {
      const now = this.#shareOf(moved);
      this.#move(index, points, before, [now[0] - begin[0], now[1] - begin[1]]);
    };
    const end = () => {
      window.removeEventListener("pointermove", move);
      window.removeEventListener("pointerup", end);
      window.removeEventListener("pointercancel", end);
      if (this.#shapes[index]?.points !== before) this.#send();
    };
    window.addEventListener("pointermove", move);
    window.addEventListener("pointerup", end);
    window.addEventListener("pointercancel", end);
  }

  // Move some points of a shape from where they were, all of them within the picture.
  #move(index, points, before, by) {
    const allowed = by.map((share, axis) => {
      const shares = points.map((point) => before[point][axis]);
      return Math.max(-Math.min(...shares), Math.min(1 - Math.max(...shares), share));
    });
    const shape = this.#shapes[index];
    shape.points = before.map((share, point) => (points.includes(point) ? share.map((value, axis) => within(value + allowed[axis])) : share));
    shape.typed = null;
    this.#place();
  }

  #editPoint(event, index, point) {
    const shape = this.#shapes[index];
    if (shape.kind !== "zones") return;
    if (event.key === "Insert" || event.key === "+") {
      this.#insert(index, point);
      this.#build([index, point + 1]);
      this.#send();
    } else if ((event.key === "Delete" || event.key === "Backspace") && shape.points.length > 3) {
      shape.points = shape.points.filter((_, other) => other !== point);
      shape.typed = null;
      this.#build([index, Math.max(0, point - 1)]);
      this.#send();
    } else return;
    event.preventDefault();
  }

  // A point of a zone half-way to the next one.
  #insert(index, point) {
    const shape = this.#shapes[index];
    const middle = middleOf([shape.points[point], shape.points[(point + 1) % shape.points.length]]).map(within);
    shape.points = [...shape.points.slice(0, point + 1), middle, ...shape.points.slice(point + 1)];
    shape.typed = null;
    this.#build();
  }

  // Drawing.

  #begin(kind, event) {
    if (event.detail === 0) return this.#add(kind, DEFAULTS[kind].map((point) => [...point])); // by the keyboard
    this.#drawing = { kind, points: [], isBegun: false };
    this.#place();
    this.#say();
  }

  #press(event) {
    if (!this.#drawing || event.button > 0) return;
    event.preventDefault();
    const share = this.#shareOf(event);
    const { kind, points, isBegun } = this.#drawing;
    if (kind === "lines") {
      this.#drawing.points = [share, share];
      window.addEventListener("pointerup", (up) => this.#endLine(share, this.#shareOf(up)), { once: true });
    } else if (isBegun && points.length > 3 && this.#isNear(points[0], share)) this.#endZone();
    else this.#drawing = { kind, points: [...points.slice(0, -1), share, share], isBegun: true }; // the last follows the pointer
    this.#place();
  }

  #preview(event) {
    if (!this.#drawing?.points.length) return;
    this.#drawing.points = [...this.#drawing.points.slice(0, -1), this.#shareOf(event)];
    this.#place();
  }

  #endLine(begin, end) {
    if (!this.#drawing) return;
    if (Math.hypot(end[0] - begin[0], end[1] - begin[1]) >= LEAST) this.#add("lines", [begin, end]);
    else this.#stop();
  }

  #endZone() {
    const points = this.#drawing.points.slice(0, -1);
    if (points.length >= 3) this.#add("zones", points);
  }

  #add(kind, points) {
    this.#drawing = null;
    const names = new Set(this.#shapes.map(({ name }) => name));
    let number = 1;
    while (names.has(`${WORDS[kind]} ${number}`)) number += 1;
    const shape = { kind, name: `${WORDS[kind]} ${number}`, own: {}, typed: null, points };
    const index = kind === "lines" ? this.#shapes.filter((other) => other.kind === "lines").length : this.#shapes.length;
    this.#shapes.splice(index, 0, shape);
    this.#build([index, 0]);
    this.#send();
  }

  #stop() {
    this.#drawing = null;
    this.#place();
    this.#say();
  }

  #isNear(one, other) {
    const { width, height } = this.#rect();
    return Math.hypot((one[0] - other[0]) * width, (one[1] - other[1]) * height) < CLOSE_PX;
  }

  #escape(event) {
    if (event.key === "Escape") {
      event.stopPropagation();
      if (this.#drawing) this.#stop();
      else this.close();
    } else if (event.key === "Enter" && this.#drawing?.kind === "zones") {
      event.preventDefault();
      this.#endZone();
    }
  }
}

function element(kind, attributes) {
  const made = document.createElementNS(SVG, kind);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function place(made, attributes) {
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value.toFixed(1));
}

function button(text, work) {
  const made = Object.assign(document.createElement("button"), { type: "button", textContent: text });
  made.addEventListener("click", work);
  return made;
}

function within(share) {
  return Math.round(10_000 * Math.max(0, Math.min(1, share))) / 10_000;
}

function middleOf([one, other]) {
  return [(one[0] + other[0]) / 2, (one[1] + other[1]) / 2];
}

function path(points, isClosed) {
  return points.map(([x, y], index) => `${index ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("") + (isClosed ? "Z" : "");
}

// The unit vector to the right of a line's way, which is in.
function inOf([[x0, y0], [x1, y1]]) {
  const length = Math.hypot(x1 - x0, y1 - y0) || 1;
  return [-(y1 - y0) / length, (x1 - x0) / length];
}

function arrow(points) {
  const [x, y] = middleOf(points);
  const [right, down] = inOf(points);
  const tip = [x + ARROW_PX * right, y + ARROW_PX * down];
  const barb = (side) => [tip[0] - 0.4 * ARROW_PX * right - side * down, tip[1] - 0.4 * ARROW_PX * down + side * right];
  return path([[x, y], tip], false) + path([barb(0.3 * ARROW_PX), tip, barb(-0.3 * ARROW_PX)], false);
}

// Where the name of a zone stands: below the middle of its two uppermost corners.
function belowTop(points) {
  const [x, y] = middleOf([...points].sort((one, other) => one[1] - other[1]).slice(0, 2));
  return [x, y + 18];
}

// Where the name of a line stands: beside its middle, opposite its arrow.
function besideOf(points) {
  const [x, y] = middleOf(points);
  const [right, down] = inOf(points);
  return [x - 14 * right, y - 14 * down];
}
