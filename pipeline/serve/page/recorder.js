// Recorder: the init segment and fragments of a stream → an MP4 file that the browser saves, from a key frame on.

const MOST_BYTES = 1 << 30; // that a tab holds; then the file is saved

// Whether fragments (Uint8Array), as pipeline/serve/fmp4.py writes them, begin with a key frame: sample_is_non_sync_sample is not set.
export function isKeyframe(data) {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  let range = [0, data.byteLength];
  for (const kind of ["moof", "traf", "trun"]) range = contentOf(view, kind, range);
  return (view.getUint32(range[0] + 20) & 0x10000) === 0; // behind version, count, offset, duration and size
}

// Where the content of the first box of a kind begins and ends, in a range of boxes.
function contentOf(view, kind, [begin, end]) {
  for (let offset = begin; offset + 8 <= end; offset += Math.max(8, view.getUint32(offset))) {
    const name = String.fromCharCode(...[4, 5, 6, 7].map((index) => view.getUint8(offset + index)));
    if (name === kind) return [offset + 8, offset + view.getUint32(offset)];
  }
  throw new Error(`a fragment must have a box ${kind}`);
}

export class Recorder {
  #parts = [];
  #numBytes = 0;
  #init;

  // init: the init segment of the stream.
  constructor(init) {
    this.#init = init;
  }

  // Returns whether there is room for more.
  take(data) {
    if (!this.#parts.length && !isKeyframe(data)) return true;
    this.#parts.push(data);
    this.#numBytes += data.byteLength;
    return this.#numBytes < MOST_BYTES;
  }

  // The file; null: no key frame came.
  file() {
    return this.#parts.length ? new Blob([this.#init, ...this.#parts], { type: "video/mp4" }) : null;
  }
}

export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// A name for a file of a source: its key and the time.
export function fileName(key, ending) {
  const now = new Date();
  const time = new Date(now - 60_000 * now.getTimezoneOffset()).toISOString().slice(0, 19).replaceAll(/[-:]/g, "").replace("T", "-");
  return `${key}-${time}.${ending}`;
}
