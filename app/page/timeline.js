// The waveform with the words under it, at their times. A lane for each speaker. Only the visible part is drawn.

import { clock } from "./i18n.js";
import { PEAKS_PER_S } from "./sound.js";
import { confidenceLevel } from "./transcript.js";

const [WAVE_HEIGHT, ROW_HEIGHT, ROWS, LANE_GAP, PADDING] = [72, 22, 2, 14, 10];
const WORDS_HEIGHT = ROW_HEIGHT * ROWS;
const LANE_HEIGHT = WAVE_HEIGHT + WORDS_HEIGHT;
const [BAR, BAR_GAP] = [2, 1];
const WORD_GAP = 8;
const FONT = "13px system-ui, sans-serif";
const [LEAST_SCALE, MOST_SCALE, WIDE_SCALE, NARROW_SCALE] = [12, 480, 110, 90]; // pixels per second
const LABEL_WIDTH = 26;

export class Timeline {
  /** element: the scrolling box with a canvas and a spacer. on: {seek(seconds), word(word)}. */
  constructor(element, on) {
    this.element = element;
    this.canvas = element.querySelector("canvas");
    this.spacer = element.querySelector("div");
    this.on = on;
    this.scale = matchMedia("(max-width: 40rem)").matches ? NARROW_SCALE : WIDE_SCALE;
    this.now = 0;
    this.widths = new Map(); // text -> pixels
    this.show({ peaks: null, lanes: [], durationS: 0 });
    element.addEventListener("scroll", () => this.draw(), { passive: true });
    this.canvas.addEventListener("click", (event) => this.#click(event));
    new ResizeObserver(() => this.draw()).observe(element);
  }

  /**
   * peaks: a Peaks for each channel, or null. lanes: {label, channels, words}: which channels a lane shows, and the words
   * in it. durationS: how long the sound is.
   */
  show({ peaks, lanes, durationS }) {
    Object.assign(this, { peaks, lanes, durationS });
    this.places = lanes.map(() => null);
    this.element.setAttribute("aria-valuemax", Math.round(durationS));
    this.setTime(this.now);
  }

  /** Go back to the start, as for another sound. */
  reset() {
    this.now = 0;
    this.element.scrollLeft = 0;
  }

  /** Show the position; follow: keep it in sight. */
  setTime(seconds, follow = false) {
    this.now = seconds;
    this.element.setAttribute("aria-valuenow", Math.round(seconds));
    this.element.setAttribute("aria-valuetext", `${clock(seconds)} / ${clock(this.durationS)}`);
    if (follow) {
      const x = seconds * this.scale;
      const { scrollLeft, clientWidth } = this.element;
      if (x < scrollLeft || x > scrollLeft + clientWidth * 0.85) this.element.scrollLeft = x - clientWidth * 0.15;
    }
    this.draw();
  }

  /** Keep the end in sight, as while recording. */
  followEnd() {
    this.draw();
    this.element.scrollLeft = this.spacer.offsetWidth;
  }

  /** Show more (factor below 1) or less time; the position stays where it is. */
  zoom(factor) {
    const anchor = this.now * this.scale - this.element.scrollLeft;
    this.scale = Math.max(LEAST_SCALE, Math.min(MOST_SCALE, this.scale * factor));
    this.places = this.lanes.map(() => null);
    this.draw();
    this.element.scrollLeft = this.now * this.scale - anchor;
  }

  draw() {
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = null;
      this.#paint();
    });
  }

  #paint() {
    const { canvas, element, lanes } = this;
    const width = element.clientWidth;
    if (!width || !lanes.length) return;
    const height = PADDING + lanes.length * (LANE_HEIGHT + LANE_GAP) - LANE_GAP + 4;
    this.spacer.style.width = `${Math.max(width, Math.ceil(this.durationS * this.scale) + 40)}px`;
    const ratio = devicePixelRatio;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      canvas.style.width = `${width}px`;
      canvas.style.height = `${height}px`;
    }
    const context = canvas.getContext("2d");
    const style = getComputedStyle(canvas); // these properties carry the colours of the theme; see style.css
    const colours = { ink: style.color, accent: style.caretColor, faint: style.columnRuleColor, paper: style.outlineColor };
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    context.font = FONT;
    context.textBaseline = "middle";
    const from = element.scrollLeft;
    lanes.forEach((lane, number) => {
      const top = PADDING + number * (LANE_HEIGHT + LANE_GAP);
      this.#paintWave(context, lane, top, from, width, colours);
      this.#paintWords(context, number, top + WAVE_HEIGHT, from, width, colours);
      if (lane.label) this.#paintLabel(context, lane.label, top, colours);
    });
    context.fillStyle = colours.accent;
    context.fillRect(this.now * this.scale - from - 0.75, 0, 1.5, height);
  }

  #paintWave(context, lane, top, from, width, colours) {
    const middle = top + WAVE_HEIGHT / 2;
    const channels = (this.peaks ?? []).filter((_, channel) => lane.channels.includes(channel));
    const step = BAR + BAR_GAP;
    const first = Math.floor(from / step) * step;
    for (let x = first; x < from + width && x < this.durationS * this.scale; x += step) {
      const [begin, end] = [x, x + step].map((place) => Math.floor((place / this.scale) * PEAKS_PER_S));
      let loudest = 0;
      for (const { values } of channels) {
        for (let place = begin; place <= Math.max(begin, end - 1); place++) loudest = Math.max(loudest, values[place] ?? 0);
      }
      const half = Math.max(0.75, Math.sqrt(loudest) * (WAVE_HEIGHT / 2 - 2)); // quiet speech is seen too
      context.fillStyle = x / this.scale < this.now ? colours.accent : colours.faint;
      context.fillRect(x - from, middle - half, BAR, 2 * half);
    }
  }

  #paintWords(context, number, top, from, width, colours) {
    const places = (this.places[number] ??= this.#place(context, this.lanes[number].words));
    for (const { word, x, row, textWidth } of places) {
      if (x + textWidth < from || x > from + width || row < 0) continue;
      const y = top + row * ROW_HEIGHT + ROW_HEIGHT / 2;
      const heard = word.start <= this.now && this.now < word.end;
      if (heard) {
        context.fillStyle = colours.accent;
        context.beginPath();
        context.roundRect(x - from - 4, y - 10, textWidth + 8, 20, 5);
        context.fill();
      }
      context.fillStyle = heard ? colours.paper : colours.ink;
      context.fillText(word.word, x - from, y + 0.5);
      const level = confidenceLevel(word.confidence);
      if (level === "high" || heard) continue;
      context.strokeStyle = colours.ink;
      context.setLineDash(level === "medium" ? [1, 2.5] : []);
      context.beginPath();
      context.moveTo(x - from, y + 9);
      context.lineTo(x - from + textWidth, y + 9);
      context.stroke();
      context.setLineDash([]);
    }
  }

  #paintLabel(context, label, top, colours) {
    context.fillStyle = colours.paper;
    context.fillRect(0, top, LABEL_WIDTH, 22);
    context.fillStyle = colours.ink;
    context.fillText(label, 8, top + 11);
  }

  /** Where words are written: under their start, on the first row that is free there; on none (-1) if all are taken. */
  #place(context, words) {
    const free = Array(ROWS).fill(-Infinity);
    return words.map((word) => {
      if (!this.widths.has(word.word)) this.widths.set(word.word, context.measureText(word.word).width);
      const [x, textWidth] = [word.start * this.scale + 4, this.widths.get(word.word)];
      const row = free.findIndex((end) => end <= x);
      if (row >= 0) free[row] = x + textWidth + WORD_GAP;
      return { word, x, row, textWidth };
    });
  }

  #click({ offsetX, offsetY }) {
    const x = offsetX + this.element.scrollLeft;
    const number = Math.floor((offsetY - PADDING) / (LANE_HEIGHT + LANE_GAP));
    const below = offsetY - PADDING - number * (LANE_HEIGHT + LANE_GAP) - WAVE_HEIGHT;
    const row = Math.floor(below / ROW_HEIGHT);
    const hit = (this.places[number] ?? []).find(
      (place) => place.row === row && place.x - 4 <= x && x <= place.x + place.textWidth + 4,
    );
    if (hit) this.on.word(hit.word);
    else this.on.seek(Math.min(this.durationS, x / this.scale));
  }
}
