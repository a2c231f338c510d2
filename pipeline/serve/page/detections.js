// Detections: the boxes on the glass of the sources that show → a table of the surest, each with its crop.

import { colourOf } from "./overlay.js";

const MOST_ROWS = 12;
const CROP_WH = [96, 74];

export class DetectionTable {
  #body = document.querySelector("#detections tbody");
  #nothing = document.querySelector("#panel .nothing");

  // tiles: those that show.
  show(tiles) {
    const rows = tiles
      .flatMap((tile) => {
        const { picture, dets, init } = tile.player.glass ?? {};
        return picture ? dets.map((det) => ({ tile, picture, det, init })) : [];
      })
      .sort((one, other) => other.det[4] - one.det[4])
      .slice(0, MOST_ROWS);
    this.#nothing.hidden = rows.length > 0;
    while (this.#body.rows.length > rows.length) this.#body.lastElementChild.remove();
    while (this.#body.rows.length < rows.length) this.#body.append(row());
    rows.forEach((entry, index) => fill(this.#body.rows[index], entry, tiles.length > 1));
  }
}

function row() {
  const element = document.createElement("tr");
  const canvas = Object.assign(document.createElement("canvas"), { width: CROP_WH[0], height: CROP_WH[1] });
  canvas.setAttribute("aria-hidden", "true");
  const cells = [0, 1, 2].map(() => document.createElement("td"));
  cells[0].append(canvas);
  cells[1].append(document.createElement("span"), document.createElement("small"));
  element.append(...cells);
  return element;
}

function fill(element, { tile, picture, det, init }, hasSeveral) {
  const [x0, y0, x1, y1, score, classId, trackId] = det;
  const canvas = element.querySelector("canvas");
  canvas.style.borderColor = colourOf(classId);
  const { width, height } = picture.videoWidth ? { width: picture.videoWidth, height: picture.videoHeight } : picture;
  const [scaleX, scaleY] = [width / init.w, height / init.h];
  const fit = Math.min(canvas.width / ((x1 - x0) * scaleX), canvas.height / ((y1 - y0) * scaleY));
  const [w, h] = [(x1 - x0) * scaleX * fit, (y1 - y0) * scaleY * fit];
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (w > 0 && h > 0) {
    context.drawImage(picture, x0 * scaleX, y0 * scaleY, (x1 - x0) * scaleX, (y1 - y0) * scaleY,
      (canvas.width - w) / 2, (canvas.height - h) / 2, w, h);
  }
  const track = trackId === null || trackId === undefined ? "" : `#${trackId} `;
  element.querySelector("span").textContent = `${track}${init.classes[classId] ?? `class ${classId}`}`;
  element.querySelector("small").textContent =
    `${hasSeveral ? `${tile.name} · ` : ""}${Math.round(x1 - x0)} × ${Math.round(y1 - y0)} px`;
  element.lastElementChild.textContent = `${Math.round(100 * score)} %`;
}
