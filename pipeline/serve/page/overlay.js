// Overlay: boxes, lines and zones in source pixels → drawn on a canvas over the part of an element that the picture fills.

import { drawShapes } from "./shapes.js";

const SMALL_WIDTH = 560;

export function colourOf(classId) {
  return `hsl(${(classId * 137.5 + 200) % 360} 90% 62%)`;
}

// Where a picture lies in an element that contains it whole (object-fit: contain).
export function contentRect(element, pictureWidth, pictureHeight) {
  const { clientWidth, clientHeight } = element;
  const scale = Math.min(clientWidth / pictureWidth, clientHeight / pictureHeight);
  const width = pictureWidth * scale;
  const height = pictureHeight * scale;
  return { x: (clientWidth - width) / 2, y: (clientHeight - height) / 2, width, height };
}

export class Overlay {
  #canvas;

  constructor(canvas) {
    this.#canvas = canvas;
  }

  clear() {
    const context = this.#canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.#canvas.width, this.#canvas.height);
  }

  // source: { w, h, classes } of the init message. rect: of `contentRect`. lateSeconds: how much older than the picture.
  // counts: of lines and zones, where the run has them.
  draw(dets, source, rect, { isLate = false, lateSeconds = 0, counts = null } = {}) {
    const canvas = this.#canvas;
    const ratio = window.devicePixelRatio || 1;
    const width = Math.round(canvas.clientWidth * ratio);
    const height = Math.round(canvas.clientHeight * ratio);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    this.clear();
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    context.font = "600 12px system-ui, sans-serif";
    context.textBaseline = "top";
    const toGlass = ([x, y]) => [rect.x + (x / source.w) * rect.width, rect.y + (y / source.h) * rect.height];
    const captions = counts ? drawShapes(context, counts, toGlass) : [];
    context.globalAlpha = isLate ? 0.45 : 1;
    context.setLineDash(isLate ? [6, 4] : []);
    for (const det of dets) this.#drawBox(context, det, source, rect);
    context.globalAlpha = 1;
    for (const caption of captions) write(context, caption, rect);
    if (isLate) {
      label(context, `boxes ${Math.round(1000 * lateSeconds)} ms old`, rect.x + 6, rect.y + 6, "#ffd166", rect);
    }
  }

  #drawBox(context, [x0, y0, x1, y1, score, classId, trackId], source, rect) {
    const colour = colourOf(classId);
    const left = rect.x + (x0 / source.w) * rect.width;
    const top = rect.y + (y0 / source.h) * rect.height;
    context.lineWidth = 4;
    context.strokeStyle = "rgb(0 0 0 / .55)";
    context.strokeRect(left, top, ((x1 - x0) / source.w) * rect.width, ((y1 - y0) / source.h) * rect.height);
    context.lineWidth = 2;
    context.strokeStyle = colour;
    context.strokeRect(left, top, ((x1 - x0) / source.w) * rect.width, ((y1 - y0) / source.h) * rect.height);
    const name = source.classes[classId] ?? `class ${classId}`;
    const track = trackId === null || trackId === undefined ? "" : `#${trackId} `;
    const percent = rect.width < SMALL_WIDTH ? "" : ` ${Math.round(100 * score)} %`; // labels hide less in a small picture
    label(context, `${track}${name}${percent}`, left - 1, top - 17, colour, rect);
  }
}

// A caption of `drawShapes`, beyond its point as a whole.
function write(context, { text, colour, x, y, right, down }, rect) {
  const width = context.measureText(text).width + 8;
  const reach = (Math.abs(right) * width + Math.abs(down) * 16) / 2;
  label(context, text, x + right * reach - width / 2, y + down * reach - 8, colour, rect);
}

// A text on a ground of its own, kept within the picture.
function label(context, text, x, y, colour, rect) {
  const width = context.measureText(text).width + 8;
  const left = Math.max(rect.x, Math.min(x, rect.x + rect.width - width));
  const top = Math.max(rect.y, Math.min(y, rect.y + rect.height - 16));
  context.fillStyle = colour;
  context.fillRect(left, top, width, 16);
  context.fillStyle = "#081018";
  context.fillText(text, left + 4, top + 2);
}
