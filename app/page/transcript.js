// The words as text: a paragraph for each segment, a button for each word.

import { clock, percent, t } from "./i18n.js";

const HIGH = 0.9;
const MEDIUM = 0.6;
const MAX_PAUSE_S = 1.2; // segments with less between them are one paragraph

/** `high`, `medium` or `low`. */
export function confidenceLevel(confidence) {
  if (confidence >= HIGH) return "high";
  return confidence >= MEDIUM ? "medium" : "low";
}

/** Shows segments in a list and lets people go through their words. One word at a time is in the tab order. */
export class Transcript {
  /** onWord: called with a word that is to be heard. */
  constructor(list, onWord) {
    this.list = list;
    this.onWord = onWord;
    this.clear();
    list.addEventListener("click", (event) => this.#choose(event.target.closest("button")));
    list.addEventListener("keydown", (event) => this.#move(event));
  }

  clear() {
    this.list.replaceChildren();
    this.words = []; // {word, element}, in the order of the page
    this.numbers = new Map(); // element -> its place in words
    this.shown = 0;
    this.playing = new Set();
    this.current = null;
    this.paragraph = null;
    this.last = null;
  }

  /** Show what is not shown yet of a growing list of segments. */
  show(segments) {
    for (const segment of segments.slice(this.shown)) this.#add(segment);
    this.shown = segments.length;
  }

  /** Mark the words that are heard at a time. Returns the first of their elements, or null. */
  mark(seconds) {
    const heard = this.words.filter(({ word }) => word.start <= seconds && seconds < word.end).map(({ element }) => element);
    for (const element of this.playing) if (!heard.includes(element)) element.classList.remove("is-playing");
    for (const element of heard) element.classList.add("is-playing");
    this.playing = new Set(heard);
    return heard[0] ?? null;
  }

  /** The word before or after a time. */
  neighbour(seconds, step) {
    const starts = this.words.map(({ word }) => word).sort((one, other) => one.start - other.start);
    if (step > 0) return starts.find((word) => word.start > seconds + 0.01);
    return starts.findLast((word) => word.start < seconds - 0.01);
  }

  #add(segment) {
    const follows = this.last && this.last.speaker === segment.speaker && segment.start - this.last.end < MAX_PAUSE_S;
    if (!follows) this.paragraph = this.#newParagraph(segment);
    else this.paragraph.append(" ");
    this.last = segment;
    let place = 0; // the segment's text says what is between its words
    for (const word of segment.words ?? []) {
      const start = segment.text.indexOf(word.word, place);
      this.paragraph.append(start < 0 ? " " : segment.text.slice(place, start), this.#button(word));
      if (start >= 0) place = start + word.word.length;
    }
    this.paragraph.append(segment.words?.length ? segment.text.slice(place) : segment.text);
  }

  #newParagraph(segment) {
    const item = document.createElement("li");
    const time = document.createElement("span");
    time.className = "time";
    time.textContent = clock(segment.start);
    item.append(time);
    if (segment.speaker) {
      const speaker = document.createElement("span");
      speaker.className = "speaker";
      speaker.dataset.channel = segment.channel;
      speaker.append(hidden(t("speaker", { speaker: "" })), segment.speaker);
      item.append(speaker);
    }
    const paragraph = document.createElement("p");
    item.append(paragraph);
    this.list.append(item);
    return paragraph;
  }

  #button(word) {
    const element = document.createElement("button");
    const confidence = percent(word.confidence);
    element.type = "button";
    element.className = "word";
    element.dataset.confidence = confidenceLevel(word.confidence);
    element.title = t("word.title", { time: clock(word.start), confidence });
    element.tabIndex = this.words.length ? -1 : 0;
    element.append(word.word);
    if (word.confidence < MEDIUM) element.append(hidden(` (${t("word.uncertain", { confidence })})`));
    this.numbers.set(element, this.words.length);
    this.words.push({ word, element });
    this.current ??= element;
    return element;
  }

  #choose(element) {
    if (!this.numbers.has(element)) return;
    this.#focus(element);
    this.onWord(this.words[this.numbers.get(element)].word);
  }

  #move(event) {
    const place = this.numbers.get(event.target);
    if (place === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    const last = this.words.length - 1;
    const places = {
      ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: last,
      ArrowDown: this.#firstOf(event.target.closest("li").nextElementSibling),
      ArrowUp: this.#firstOf(event.target.closest("li").previousElementSibling),
    };
    if (!(event.key in places)) return;
    event.preventDefault();
    this.#focus(this.words[Math.max(0, Math.min(last, places[event.key] ?? place))].element);
  }

  #firstOf(item) {
    return this.numbers.get(item?.querySelector(".word"));
  }

  #focus(element) {
    if (this.current) this.current.tabIndex = -1;
    this.current = element;
    element.tabIndex = 0;
    element.focus();
  }
}

function hidden(text) {
  const element = document.createElement("span");
  element.className = "hidden";
  element.textContent = text;
  return element;
}
