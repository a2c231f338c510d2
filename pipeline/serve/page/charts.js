// Charts: a value or more each second → moving lines with the newest numbers beside them, in words for screen readers.

const KEPT = 120; // points, which are seconds
const WIDTH = 120;
const HEIGHT = 30;
const SVG = "http://www.w3.org/2000/svg";

export function number(value, digits = 1) {
  return Number.isFinite(value) ? value.toFixed(digits) : "–";
}

export class Chart {
  #title;
  #series;
  #unit;
  #digits;
  #points = [];
  #paths = [];
  #svg;
  #now;

  // series: names of the lines, of which a list of values comes each second; null: not known.
  constructor(title, series, { unit = "", digits = 1 } = {}) {
    Object.assign(this, { element: document.createElement("figure") });
    this.#title = title;
    this.#series = series;
    this.#unit = unit;
    this.#digits = digits;
    this.element.className = "chart";
    const caption = document.createElement("figcaption");
    this.#now = document.createElement("span");
    this.#now.className = "now";
    caption.append(title, this.#now);
    this.#svg = document.createElementNS(SVG, "svg");
    this.#svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    this.#svg.setAttribute("preserveAspectRatio", "none");
    this.#svg.setAttribute("role", "img");
    for (const _ of series) {
      const path = document.createElementNS(SVG, "path");
      this.#paths.push(path);
      this.#svg.append(path);
    }
    this.element.append(caption, this.#svg);
  }

  add(values) {
    this.#points.push(values);
    if (this.#points.length > KEPT) this.#points.shift();
    const most = Math.max(1e-9, ...this.#points.flat().filter(Number.isFinite));
    this.#paths.forEach((path, index) => path.setAttribute("d", this.#line(index, most)));
    const now = values.map((value) => number(value, this.#digits)).join(" / ");
    this.#now.textContent = `${now}${this.#unit}`;
    const parts = this.#series.map((name, index) => `${name} ${number(values[index], this.#digits)}${this.#unit}`);
    this.element.title = `${parts.join(", ")}; the highest in two minutes ${number(most, this.#digits)}${this.#unit}`;
    this.#svg.setAttribute("aria-label", `${this.#title}: ${this.element.title}`);
  }

  #line(index, most) {
    let isDown = false;
    let line = "";
    this.#points.forEach((values, position) => {
      const value = values[index];
      if (!Number.isFinite(value)) {
        isDown = false;
        return;
      }
      const x = WIDTH - (this.#points.length - 1 - position) * (WIDTH / (KEPT - 1));
      const y = HEIGHT - 2 - (HEIGHT - 4) * (value / most);
      line += `${isDown ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
      isDown = true;
    });
    return line;
  }
}
