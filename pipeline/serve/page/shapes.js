// Shapes: the counts of messages → lines and zones on the overlay, and the table beside the pictures.
//
// counts: { lines: { NAME: { points: [[x, y], …], in: { CLASS: n }, out } }, zones: { NAME: { points, inside: { CLASS: n } } } },
// points in source pixels.

const LINE = "#ffd166";
const ZONE = "#7ae582";
const ARROW = 18; // pixels of the glass, to the side of a line that is in
const sum = (byClass) => Object.values(byClass ?? {}).reduce((total, num) => total + num, 0);

// Draw lines and zones. toGlass: a point in source pixels → one on the canvas. Returns what is to be written beside them:
// { text, colour, x, y, right, down }, beyond a point in a direction, or around it where that is 0.
export function drawShapes(context, counts, toGlass) {
  context.setLineDash([]);
  context.lineCap = context.lineJoin = "round";
  const zones = Object.entries(counts.zones ?? {}).map(([name, zone]) => [name, zone, zone.points.map(toGlass)]);
  const lines = Object.entries(counts.lines ?? {}).map(([name, line]) => [name, line, line.points.map(toGlass)]);
  for (const [, , points] of zones) outline(context, points, ZONE, { isClosed: true });
  for (const [, , points] of lines) {
    outline(context, points, LINE);
    for (const stroke of arrow(points)) outline(context, stroke, LINE);
  }
  return [
    ...zones.map(([name, zone, points]) => ({ text: `${name}: ${sum(zone.inside)} inside`, colour: ZONE, ...middleOfTop(points) })),
    ...lines.map(([name, line, points]) => ({ text: `${name}: in ${sum(line.in)}, out ${sum(line.out)}`, colour: LINE, ...beside(points) })),
  ];
}

function outline(context, points, colour, { isClosed = false } = {}) {
  context.beginPath();
  points.forEach((point, index) => context[index ? "lineTo" : "moveTo"](...point));
  if (isClosed) {
    context.closePath();
    context.fillStyle = `${colour}22`;
    context.fill();
  }
  for (const [width, style] of [[5, "rgb(0 0 0 / .55)"], [2.5, colour]]) {
    Object.assign(context, { lineWidth: width, strokeStyle: style });
    context.stroke();
  }
}

// The middle of a line, and the unit vector to the right of its way, which is in.
function middleAndNormal([[x0, y0], [x1, y1]]) {
  const length = Math.hypot(x1 - x0, y1 - y0) || 1;
  return [(x0 + x1) / 2, (y0 + y1) / 2, -(y1 - y0) / length, (x1 - x0) / length];
}

// The strokes of an arrow from the middle of a line to the side that is in.
function arrow(points) {
  const [x, y, right, down] = middleAndNormal(points);
  const tip = [x + ARROW * right, y + ARROW * down];
  const barb = (side) => [tip[0] - 0.4 * ARROW * right - side * down, tip[1] - 0.4 * ARROW * down + side * right];
  return [[[x, y], tip], [barb(0.3 * ARROW), tip, barb(-0.3 * ARROW)]];
}

// The side of a line opposite its arrow.
function beside(points) {
  const [x, y, right, down] = middleAndNormal(points);
  return { x: x - 6 * right, y: y - 6 * down, right: -right, down: -down };
}

// The middle of the two uppermost corners.
function middleOfTop(points) {
  const [[x0, y0], [x1, y1]] = [...points].sort((one, other) => one[1] - other[1]);
  return { x: (x0 + x1) / 2, y: (y0 + y1) / 2, right: 0, down: 0 };
}

export class CountTable {
  #counts = document.getElementById("counts");

  // tiles: those that show.
  show(tiles) {
    const rows = tiles.flatMap((tile) => {
      const { lines = {}, zones = {} } = tile.player.counts ?? {};
      const named = (name) => (tiles.length > 1 ? `${tile.name}: ${name}` : name);
      return [
        ...Object.entries(lines).map(([name, line]) => [named(name), sum(line.in), sum(line.out), ""]),
        ...Object.entries(zones).map(([name, zone]) => [named(name), sum(zone.entered), sum(zone.left), sum(zone.inside)]),
      ];
    });
    this.#counts.hidden = rows.length === 0;
    this.#counts.querySelector("tbody").replaceChildren(
      ...rows.map((cells) => {
        const row = document.createElement("tr");
        row.append(...cells.map((text) => Object.assign(document.createElement("td"), { textContent: text })));
        return row;
      }),
    );
  }
}
