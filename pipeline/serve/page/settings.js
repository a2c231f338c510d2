// Settings: the sliders and classes of the panel ↔ the run's settings; a change is sent at once, and the newest wins.

import * as api from "./api.js";

const part = (id) => document.getElementById(id);

export class Settings {
  #wanted = {}; // changes that have not been sent
  #isSending = false;
  #onError;
  #classes = new Set();
  #names = [];

  // onError: gets the line of what the run refuses, or "".
  constructor(onError) {
    this.#onError = onError;
    for (const [id, key] of [["score", "score_threshold"], ["iou", "iou_threshold"]]) {
      part(id).addEventListener("input", () => {
        part(`${id}-now`).textContent = Number(part(id).value).toFixed(2);
        this.#change({ [key]: Number(part(id).value) });
      });
    }
    part("class-search").addEventListener("input", () => this.#filter());
    part("settings").addEventListener("submit", (event) => event.preventDefault());
    part("all-classes").addEventListener("click", () => {
      this.#classes.clear();
      this.#change({ classes: [] });
      this.#showClasses();
    });
  }

  async load() {
    this.#show(await api.settings());
  }

  #show(settings) {
    for (const [id, value] of [["score", settings.score_threshold], ["iou", settings.iou_threshold]]) {
      if (Number.isFinite(value)) part(id).value = value;
      part(`${id}-now`).textContent = Number.isFinite(value) ? value.toFixed(2) : "the model's own";
    }
    this.#classes = new Set((settings.classes ?? []).map(String));
    const names = settings.class_names ?? [];
    if (names.join("\n") !== this.#names.join("\n")) this.#list(names);
    this.#showClasses();
  }

  #list(names) {
    this.#names = names;
    part("class-list").replaceChildren(
      ...names.map((name) => {
        const label = document.createElement("label");
        const box = Object.assign(document.createElement("input"), { type: "checkbox", value: name });
        box.addEventListener("change", () => {
          if (box.checked) this.#classes.add(name);
          else this.#classes.delete(name);
          this.#change({ classes: [...this.#classes] });
          this.#showClasses();
        });
        label.append(box, ` ${name}`);
        return label;
      }),
    );
  }

  #showClasses() {
    for (const box of part("class-list").querySelectorAll("input")) box.checked = this.#classes.has(box.value);
    const kept = [...this.#classes];
    part("classes-now").textContent = kept.length === 0 ? "all" : kept.length > 3 ? `${kept.length} of ${this.#names.length}` : kept.join(", ");
    part("all-classes").disabled = kept.length === 0;
  }

  #filter() {
    const word = part("class-search").value.trim().toLowerCase();
    for (const label of part("class-list").children) label.hidden = !label.textContent.toLowerCase().includes(word);
  }

  async #change(values) {
    Object.assign(this.#wanted, values);
    if (this.#isSending) return;
    this.#isSending = true;
    while (Object.keys(this.#wanted).length) {
      const sent = this.#wanted;
      this.#wanted = {};
      try {
        const settings = await api.changeSettings(sent);
        if (!Object.keys(this.#wanted).length) this.#show(settings);
        this.#onError("");
      } catch (error) {
        this.#onError(error.message);
        if (!Object.keys(this.#wanted).length) await this.load().catch(() => {});
      }
    }
    this.#isSending = false;
  }
}
