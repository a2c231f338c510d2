// Boxes: messages with media times → those that belong to the picture on the glass.

const MOST_KEPT = 600;
const SAME_SECONDS = 0.002; // times are rounded to ticks of 1/90000 s and to microseconds

export class Boxes {
  #messages = []; // in order of their times

  get newest() {
    return this.#messages.at(-1) ?? null;
  }

  clear() {
    this.#messages = [];
  }

  add(message) {
    const last = this.newest;
    if (last && message.pts < last.pts) this.clear(); // another stream
    this.#messages.push(message);
    if (this.#messages.length > MOST_KEPT) this.#messages.shift();
  }

  // The newest message that is not later than a picture, and by how many seconds it is earlier.
  at(mediaTime) {
    let low = 0;
    let high = this.#messages.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#messages[middle].pts <= mediaTime + SAME_SECONDS) low = middle + 1;
      else high = middle;
    }
    const message = this.#messages[low - 1];
    return message ? { message, lateSeconds: Math.max(0, mediaTime - message.pts) } : null;
  }
}
