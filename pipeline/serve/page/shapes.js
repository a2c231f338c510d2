// Shapes: the counts and events of messages → lines and zones on the overlay, and the tables beside the pictures.
//
// counts: { lines: { NAME: { points: [[x, y], …], in: { CLASS: n }, out } }, zones: { NAME: { points, inside: { CLASS: n } } } },
// points in source pixels.

const MOST_EVENTS = 100;
const sum = (byClass) => Object.values(byClass ?? {}).reduce((total, num) => total + num, 0);

// Draw lines and zones. toGlass: a point in source pixels → one on the canvas. label: draws a text at a point.
export function drawShapes(context, counts, toGlass, label) {
  context.setLineDash([]);
  for (const [name, line] of Object.entries(counts.lines ?? {})) {
    outline(context, line.points, toGlass, "#ffd166");
    if (line.points) label(`${name}: in ${sum(line.in)}, out ${sum(line.out)}`, ...toGlass(line.points[0]), "#ffd166");
  }
  for (const [name, zone] of Object.entries(counts.zones ?? {})) {
    outline(context, zone.points, toGlass, "#7ae582", { isClosed: true });
    if (zone.points) label(`${name}: ${sum(zone.inside)} inside`, ...toGlass(zone.points[0]), "#7ae582");
  }
}

function outline(context, points, toGlass, colour, { isClosed = false } = {}) {
  if (!points?.length) return;
  context.beginPath();
  points.forEach((point, index) => context[index ? "lineTo" : "moveTo"](...toGlass(point)));
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

export class CountTables {
  #counts = document.getElementById("counts");
  #events = document.getElementById("events");

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

  addEvents(sourceName, events) {
    const list = this.#events.querySelector("ol");
    for (const event of events) {
      const item = document.createElement("li");
      const at = event.time ? new Date(event.time) : new Date();
      const time = Object.assign(document.createElement("time"), { textContent: at.toLocaleTimeString() });
      time.dateTime = at.toISOString();
      item.append(time, wordsOf(event, sourceName));
      list.prepend(item);
      if (list.children.length > MOST_EVENTS) list.lastElementChild.remove();
    }
    this.#events.hidden = list.children.length === 0;
  }
}

function wordsOf(event, sourceName) {
  const object = [event.class_name, Number.isInteger(event.track_id) ? `#${event.track_id}` : ""].filter(Boolean).join(" ");
  const dwell = Number.isFinite(event.dwell_s) ? `after ${event.dwell_s.toFixed(1)} s` : "";
  const count = Number.isInteger(event.count) ? `to ${event.count}` : "";
  const parts = [object, event.kind.replaceAll("_", " "), event.name, event.direction ?? "", count, dwell];
  return `${parts.filter(Boolean).join(" ")} · ${sourceName}`;
}
