// Player: the WebSocket of a source → its pictures and boxes in a tile; connects again, and takes what the browser plays.
//
// docs/live-protocol.md describes the messages. Events: "stats", "init", "notice", "events", "end" and "recorded" (a Blob or
// null), with a `detail`.

import { Boxes } from "./boxes.js";
import { Feed } from "./feed.js";
import { Overlay, contentRect } from "./overlay.js";
import { Recorder } from "./recorder.js";

const MODES = [null, "encode", "jpeg"]; // asked for, one after another, where the browser does not play the one before
const LONGEST_DELAY_MS = 5000;
const STALE_MS = 2000; // without boxes for longer, the newest picture counts
const DEFAULT_STEP = 0.04;
const LEAST_MARGIN = 0.08; // seconds that pictures wait for their boxes and for the next message; more where boxes come late
const MOST_MARGIN = 0.5;
const EACH_STEP = 0.1; // seconds between messages, up to which every picture is expected to have boxes, and waits for them
const MOST_HOLD_MS = 500; // that it waits

const decoder = new TextDecoder();

// A binary message: the messages in it, and its fragments, or init segment.
export function takenApart(data) {
  const length = new DataView(data).getUint32(0);
  const messages = length ? JSON.parse(decoder.decode(new Uint8Array(data, 4, length))) : [];
  return { messages, media: new Uint8Array(data, 4 + length) };
}

export class Player extends EventTarget {
  #key;
  #video;
  #canvas;
  #overlay;
  #boxes = new Boxes();
  #feed = null;
  #init = null;
  #socket = null;
  #mode = 0;
  #delayMs = 500;
  #boxesAtMs = 0;
  #margin = LEAST_MARGIN;
  #shownSeconds = -Infinity; // the media time of the picture on the glass
  #redraw = null; // draws the boxes of the picture on the glass again
  #heldAtMs = null; // since when the picture on the glass stays, because the next one has no boxes yet; null: it does not
  #step = DEFAULT_STEP; // seconds between messages with boxes
  #isClosed = false;
  #isEnded = false;
  #timers = [];
  #initData = null; // the init segment
  #recorder = null;
  glass = null; // { picture, dets, init }: what shows: an element, the boxes on it, and in which pixels they are
  hidesShapes = false; // whether lines and zones are left out, because others draw them
  counts = null; // of lines and zones, in the newest message that has them
  shown = []; // [media time of the picture, pts of its boxes or null, age in ms]: what was drawn, for tests

  constructor(key, { video, canvas, overlay }) {
    super();
    this.#key = key;
    this.#video = video;
    this.#canvas = canvas;
    this.#overlay = new Overlay(overlay);
    this.#timers.push(setInterval(() => this.#chase(), 100));
    if (video.requestVideoFrameCallback) this.#watch();
    else this.#mode = 2;
    this.#connect();
  }

  close() {
    this.#isClosed = true;
    this.#timers.forEach(clearInterval);
    this.stopRecording();
    this.#leave();
  }

  // The message with which the stream began; null: none has.
  get init() {
    return this.#init;
  }

  get isEnded() {
    return this.#isEnded;
  }

  // Whether the stream can be recorded: JPEGs cannot.
  get canRecord() {
    return this.#initData !== null;
  }

  // Connect again at once, also to a source that had ended and is there again.
  reconnect() {
    this.#isEnded = false;
    this.#leave();
    this.#connect();
  }

  // Keep what comes from the next key frame on. A stream that ends, or begins anew, ends the recording.
  startRecording() {
    this.#recorder = new Recorder(this.#initData);
  }

  stopRecording() {
    const recorder = this.#recorder;
    this.#recorder = null;
    if (recorder) this.#tell("recorded", recorder.file());
  }

  // Draw again, after the size of the element has changed.
  redraw() {
    this.#redraw?.();
  }

  #connect() {
    if (this.#isClosed) return;
    const mode = MODES[this.#mode];
    const address = new URL(`/ws/view/${encodeURIComponent(this.#key)}`, location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    if (mode) address.searchParams.set("mode", mode);
    const socket = (this.#socket = new WebSocket(address));
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => {
      if (this.#socket !== socket) return;
      if (typeof data === "string") this.#hear(JSON.parse(data));
      else this.#take(data);
    };
    socket.onclose = () => {
      if (this.#socket !== socket || this.#isClosed || this.#isEnded) return;
      this.#notice("connection lost, trying again …");
      setTimeout(() => this.#connect(), this.#delayMs);
      this.#delayMs = Math.min(2 * this.#delayMs, LONGEST_DELAY_MS);
    };
  }

  #hear(message) {
    if (message.t === "init") this.#begin(message);
    else if (message.t === "boxes") this.#keep(message);
    else if (message.t === "stats") this.#tell("stats", message);
    else if (message.t === "end") {
      this.#isEnded = true;
      this.stopRecording();
      this.#notice("the source has ended");
      this.#tell("end", null);
    }
  }

  #begin(init) {
    this.stopRecording();
    this.#initData = null;
    this.#init = init;
    this.#delayMs = 500;
    this.#boxes.clear();
    this.#shownSeconds = -Infinity;
    this.#heldAtMs = null;
    this.#redraw = null;
    this.#feed?.close();
    this.#feed = null;
    const isJpeg = init.mode === "jpeg";
    this.#video.hidden = isJpeg;
    this.#canvas.hidden = !isJpeg;
    this.#tell("init", init);
    if (isJpeg) return this.#notice("");
    if (!Feed.canPlay(init.mime)) return this.#takeNextMode(`${init.mime} is not played here`);
    this.#feed = new Feed(this.#video, init.mime, (reason) => this.#takeNextMode(reason));
    this.#notice("");
  }

  #takeNextMode(reason) {
    if (this.#isClosed || this.#mode + 1 >= MODES.length) return this.#notice(reason);
    this.#mode += this.#init?.mode === "encode" ? MODES.length - 1 - this.#mode : 1;
    this.#notice(`${reason}; trying another way …`);
    this.#leave();
    this.#connect();
  }

  #leave() {
    this.#feed?.close();
    this.#feed = null;
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  #keep(message) {
    const last = this.#boxes.newest;
    if (last && message.pts > last.pts) this.#step += 0.1 * (Math.min(1, message.pts - last.pts) - this.#step);
    const isLate = message.pts <= this.#shownSeconds + 0.002; // its picture was shown without it
    this.#margin = isLate ? Math.min(MOST_MARGIN, this.#margin + 0.02) : Math.max(LEAST_MARGIN, this.#margin - 0.0002);
    message.heardAtMs = performance.now();
    this.#boxesAtMs = message.heardAtMs;
    this.#boxes.add(message);
    this.#release();
    this.counts = message.counts ?? null;
    if (message.events?.length) this.#tell("events", message.events);
    if (this.#redraw && Math.abs(message.pts - this.#shownSeconds) < 0.002) this.#redraw(); // late, but still its picture
  }

  #take(data) {
    if (this.#init?.mode === "jpeg") {
      this.#show(data);
      return;
    }
    const { messages, media } = takenApart(data);
    for (const message of messages) this.#hear(message);
    if (!this.#initData) {
      this.#initData = media;
      this.#tell("recordable", null);
    } else if (this.#recorder && !this.#recorder.take(media)) this.stopRecording();
    this.#feed?.append(media);
  }

  #chase() {
    if (!this.#feed) return;
    if (this.#heldAtMs !== null && performance.now() - this.#heldAtMs < MOST_HOLD_MS) return;
    this.#heldAtMs = null;
    const isStale = performance.now() - this.#boxesAtMs > STALE_MS;
    const newest = this.#boxes.newest;
    if (newest && !isStale) {
      this.#feed.chase(newest.pts + (performance.now() - newest.heardAtMs) / 1000 - this.#margin);
    } else if (this.#feed.endSeconds !== null) this.#feed.chase(this.#feed.endSeconds - LEAST_MARGIN);
  }

  #watch() {
    this.#video.requestVideoFrameCallback((_, frame) => {
      if (this.#feed && this.#init) {
        this.#hold(frame.mediaTime);
        this.#draw(frame.mediaTime, this.#video, frame.width, frame.height);
      }
      if (!this.#isClosed) this.#watch();
    });
  }

  // Keep the picture on the glass where the next one would show before its boxes have come, and from now on play later.
  #hold(mediaTime) {
    const newest = this.#boxes.newest;
    if (!newest || this.#step > EACH_STEP || this.#heldAtMs !== null || Math.abs(mediaTime - newest.pts) > 0.002) return;
    this.#heldAtMs = performance.now();
    this.#margin = Math.min(MOST_MARGIN, this.#margin + 0.02);
    this.#video.pause();
  }

  #release() {
    if (this.#heldAtMs === null) return;
    this.#heldAtMs = null;
    this.#video.play().catch(() => {});
  }

  async #show(data) {
    const pts = new DataView(data).getFloat64(0);
    const bitmap = await createImageBitmap(new Blob([new Uint8Array(data, 8)], { type: "image/jpeg" }));
    Object.assign(this.#canvas, { width: bitmap.width, height: bitmap.height });
    this.#canvas.getContext("2d").drawImage(bitmap, 0, 0);
    this.#draw(pts, this.#canvas, bitmap.width, bitmap.height);
    bitmap.close();
  }

  #draw(mediaTime, element, width, height) {
    this.#shownSeconds = mediaTime;
    this.#redraw = () => this.#draw(mediaTime, element, width, height);
    const nearest = this.#boxes.at(mediaTime);
    this.glass = { picture: element, dets: nearest?.message.dets ?? [], init: this.#init };
    if (!nearest) {
      this.#overlay.clear();
      this.#note(mediaTime, null, null);
      return;
    }
    const { message, lateSeconds } = nearest;
    const isLate = lateSeconds > 1.5 * this.#step + 0.01;
    const rect = contentRect(element, width, height);
    this.#overlay.draw(message.dets, this.#init, rect, { isLate, lateSeconds, counts: this.hidesShapes ? null : message.counts });
    this.#note(mediaTime, message, message.age_ms + performance.now() - message.heardAtMs);
  }

  #note(mediaTime, message, ageMs) {
    if (this.shown.at(-1)?.[0] === mediaTime) this.shown.pop();
    this.shown.push([mediaTime, message?.pts ?? null, ageMs, message?.dets ?? []]);
    if (this.shown.length > 2000) this.shown.shift();
  }

  #notice(text) {
    this.#tell("notice", text);
  }

  #tell(kind, detail) {
    this.dispatchEvent(new CustomEvent(kind, { detail }));
  }
}
