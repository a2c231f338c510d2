// Feed: init segments and fragments → a video element that plays them, near the newest boxes.

const KEPT_SECONDS = 6;
const SEEK_SECONDS = 1.0; // farther away, it jumps instead of playing faster

export class Feed {
  #video;
  #source;
  #buffer = null;
  #pending = [];
  #onError;
  #url;

  // mime: of the init message. onError: is told why the browser does not play it.
  constructor(video, mime, onError) {
    const Source = window.ManagedMediaSource ?? window.MediaSource;
    this.#video = video;
    this.#onError = onError;
    this.#source = new Source();
    video.disableRemotePlayback = true; // without it, ManagedMediaSource does not open
    video.onerror = () => onError(video.error?.message || "the video cannot be decoded");
    this.#url = URL.createObjectURL(this.#source);
    video.src = this.#url;
    this.#source.addEventListener("sourceopen", () => this.#open(mime), { once: true });
  }

  static canPlay(mime) {
    const Source = window.ManagedMediaSource ?? window.MediaSource;
    return Boolean(Source?.isTypeSupported(mime));
  }

  close() {
    this.#pending = [];
    this.#video.onerror = null;
    this.#video.removeAttribute("src");
    this.#video.load();
    URL.revokeObjectURL(this.#url);
  }

  append(data) {
    this.#pending.push(data);
    this.#pump();
  }

  // Play towards a media time: a little faster or slower, or by a jump where it is far away or not buffered.
  chase(targetSeconds) {
    const video = this.#video;
    const buffered = video.buffered;
    if (!buffered.length) return;
    const begin = buffered.start(buffered.length - 1);
    const end = buffered.end(buffered.length - 1);
    const target = Math.max(begin, Math.min(targetSeconds, end - 0.02));
    const gap = target - video.currentTime;
    const isOutside = video.currentTime < begin - 0.05 || video.currentTime > end + 0.5;
    if (Math.abs(gap) > SEEK_SECONDS || isOutside) video.currentTime = target;
    video.playbackRate = Math.abs(gap) < 0.02 ? 1 : 1 + Math.max(-0.15, Math.min(0.3, gap));
    if (video.paused) video.play().catch(() => {}); // a tab in the background may not
  }

  get endSeconds() {
    const buffered = this.#video.buffered;
    return buffered.length ? buffered.end(buffered.length - 1) : null;
  }

  #open(mime) {
    try {
      this.#buffer = this.#source.addSourceBuffer(mime);
    } catch (error) {
      this.#onError(error.message);
      return;
    }
    this.#buffer.mode = "segments";
    this.#buffer.addEventListener("updateend", () => this.#pump());
    this.#pump();
  }

  #pump() {
    const buffer = this.#buffer;
    if (!buffer || buffer.updating || this.#source.readyState !== "open") return;
    try {
      const first = buffer.buffered.length ? buffer.buffered.start(0) : Infinity;
      if (this.#video.currentTime - first > 2 * KEPT_SECONDS) {
        buffer.remove(0, this.#video.currentTime - KEPT_SECONDS);
      } else if (this.#pending.length) {
        buffer.appendBuffer(joined(this.#pending.splice(0)));
      }
    } catch (error) {
      this.#onError(error.message);
    }
  }
}

function joined(parts) {
  if (parts.length === 1) return parts[0];
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.byteLength, 0));
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.byteLength;
  }
  return whole;
}
