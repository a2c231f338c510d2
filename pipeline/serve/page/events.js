// Events: those of messages, and the recent ones that the run keeps → a list, the newest first, with pictures and clips.

const MOST_EVENTS = 100;

export class EventList {
  #section = document.getElementById("events");
  #list = this.#section.querySelector("ol");
  #player = document.getElementById("clip");
  #items = new Map(); // by id, the earliest first

  constructor() {
    this.#player.querySelector("button").addEventListener("click", () => this.#player.close());
    this.#player.addEventListener("close", () => this.#player.querySelector("video").removeAttribute("src"));
  }

  // events: the earliest first; one that is there already may have got its picture or clip meanwhile.
  add(sourceName, events) {
    for (const event of events) {
      const before = this.#items.get(event.id);
      if (before) this.#complete(before, event);
      else this.#insert(event, sourceName);
    }
    this.#section.hidden = this.#list.children.length === 0;
  }

  #insert(event, sourceName) {
    const item = document.createElement("li");
    const time = Object.assign(document.createElement("time"), { textContent: timeOf(event), dateTime: event.time ?? "" });
    const words = Object.assign(document.createElement("p"), { textContent: `${wordsOf(event)} · ${sourceName}` });
    words.prepend(time);
    item.append(words);
    this.#complete(item, event);
    this.#list.prepend(item);
    if (event.id) this.#items.set(event.id, item);
    if (this.#list.children.length <= MOST_EVENTS) return;
    const oldest = this.#list.lastElementChild;
    oldest.remove();
    for (const [id, element] of this.#items) if (element === oldest) this.#items.delete(id);
  }

  // Add the picture and the clip that an item lacks.
  #complete(item, { snapshot, clip, ...event }) {
    if (snapshot && !item.querySelector("img")) {
      const link = Object.assign(document.createElement("a"), { href: snapshot, target: "_blank", rel: "noopener" });
      link.append(Object.assign(new Image(), { src: snapshot, alt: `Snapshot: ${wordsOf(event)}`, loading: "lazy" }));
      item.prepend(link);
    }
    if (clip && !item.querySelector("button")) {
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: "▶ Clip" });
      button.setAttribute("aria-label", `Play the clip: ${wordsOf(event)}`);
      button.addEventListener("click", () => this.#play(clip, wordsOf(event)));
      item.append(button);
    }
  }

  #play(address, title) {
    this.#player.querySelector("h2").textContent = title;
    this.#player.querySelector("video").src = address;
    this.#player.querySelector("a").href = address;
    this.#player.showModal();
  }
}

// The time on the wall, or in a file: minutes and seconds from its start.
function timeOf({ time, pts }) {
  if (time) return new Date(time).toLocaleTimeString();
  if (!Number.isFinite(pts)) return new Date().toLocaleTimeString();
  return `${Math.floor(pts / 60)}:${(pts % 60).toFixed(1).padStart(4, "0")}`;
}

function wordsOf(event) {
  const object = [event.class_name, Number.isInteger(event.track_id) ? `#${event.track_id}` : ""].filter(Boolean).join(" ");
  const dwell = Number.isFinite(event.dwell_s) ? `after ${event.dwell_s.toFixed(1)} s` : "";
  const count = Number.isInteger(event.count) ? `to ${event.count}` : "";
  const parts = [object, event.kind.replaceAll("_", " "), event.name, event.kind === "crossed" ? event.direction : "", count, dwell];
  return parts.filter(Boolean).join(" ");
}
