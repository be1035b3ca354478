// Shows the chosen clip: its state, its words, its waveform, what can be done with it.

import { copy, curlCommand, download, plainText } from "./exports.js";
import { clock, hasText, number, percent, t } from "./i18n.js";
import { Player } from "./player.js";
import { Timeline } from "./timeline.js";
import { Transcript } from "./transcript.js";
import { BUSY } from "./clips.js";

const COPIED_MS = 2000;
const MIB = 2 ** 20;
const WAITING = new Set(["queued", "uploading", "working", "finishing"]);
const find = (id) => document.getElementById(id);

export class ClipView {
  /** on: {cancel(clip), retry(clip), loaded(clip, durationS), announce(text)}. */
  constructor(on) {
    this.on = on;
    this.clip = null;
    this.words = [];
    this.player = new Player(find("audio"), {
      time: (seconds, isPlaying) => this.#showTime(seconds, isPlaying),
      state: (isPlaying) => this.#showPlaying(isPlaying),
      loaded: (durationS) => on.loaded(this.clip, durationS),
      unplayable: () => {
        this.#playable(false);
        on.loaded(this.clip, NaN);
      },
    });
    this.transcript = new Transcript(find("segments"), (word) => this.#hear(word));
    this.timeline = new Timeline(find("timeline"), {
      seek: (seconds) => this.player.seek(seconds),
      word: (word) => this.#hear(word),
    });
    find("play").onclick = () => this.player.toggle();
    find("rate").onchange = (event) => this.player.setRate(Number(event.target.value));
    find("zoom-in").onclick = () => this.timeline.zoom(1.5);
    find("zoom-out").onclick = () => this.timeline.zoom(1 / 1.5);
    find("cancel").onclick = () => on.cancel(this.clip);
    find("retry").onclick = () => on.retry(this.clip);
    find("copy").onclick = (event) => this.#copy(event.currentTarget, plainText(this.clip.result));
    find("copy-curl").onclick = (event) => this.#copy(event.currentTarget, find("curl-line").textContent);
    for (const button of document.querySelectorAll("[data-format]")) button.onclick = () => this.#save(button);
    find("timeline").addEventListener("keydown", (event) => this.#moveOnTimeline(event));
    document.addEventListener("keydown", (event) => this.#space(event, true));
    document.addEventListener("keyup", (event) => this.#space(event, false));
  }

  /** Show a clip, from the start. */
  choose(clip) {
    this.clip = clip;
    this.transcript.clear();
    this.player.load(null);
    this.timeline.reset();
    find("now").textContent = clock(0);
    this.#playable(true);
    this.show();
  }

  /** Write all texts again, as after a change of the language. */
  rewrite() {
    this.transcript.clear();
    if (this.clip) this.show();
  }

  /** Show what has changed. */
  show() {
    const { clip } = this;
    find("clip").hidden = false;
    find("clip").dataset.state = clip.state;
    find("clip-name").textContent = clip.name;
    find("clip-facts").textContent = facts(clip);
    find("cancel").hidden = !["queued", "uploading", "working"].includes(clip.state);
    this.#showProgress(clip);
    this.#showError(clip);
    if (clip.segments.length < this.transcript.shown) this.transcript.clear();
    this.transcript.show(clip.segments);
    this.#showPartial(clip);
    this.#showSound(clip);
    find("results").hidden = clip.state !== "done";
    find("legend").hidden = !clip.segments.some(({ words }) => words?.length);
    const isEmpty = !clip.segments.length && !clip.partial;
    find("words-empty").hidden = !isEmpty || !["done", "recording"].includes(clip.state);
    find("words-empty").textContent = t(clip.state === "done" ? "words.none" : "words.listening");
    if (clip.file) find("curl-line").textContent = curlCommand(clip.name, clip.fields);
  }

  #showProgress(clip) {
    find("progress").hidden = !WAITING.has(clip.state);
    if (!WAITING.has(clip.state)) return;
    const size = clip.file ? `${number(clip.file.size / MIB, 1)} MiB` : "";
    find("progress-text").textContent = t(`progress.${clip.state}`, { share: percent(clip.share), size });
    if (clip.state === "uploading") find("progress-bar").value = clip.share;
    else find("progress-bar").removeAttribute("value");
  }

  #showError({ state, error, file }) {
    find("error").hidden = state !== "failed" && state !== "cancelled";
    if (find("error").hidden) return;
    find("error-title").textContent = title(error);
    find("error-text").textContent = explanation(error);
    find("retry").hidden = !file;
  }

  #showPartial({ partial }) {
    find("partial").hidden = !partial;
    const text = (words) => words.map(({ word }) => word).join(" ");
    find("committed").textContent = partial ? `${text(partial.committed)} ` : "";
    find("volatile").textContent = partial ? text(partial.volatile) : "";
  }

  #showSound(clip) {
    const isRecording = clip.state === "recording" || (clip.state === "finishing" && !clip.url);
    find("player").hidden = !clip.url;
    find("timeline").hidden = !clip.durationS;
    this.player.load(clip.url);
    find("length").textContent = clock(clip.durationS);
    find("save-sound").hidden = !(clip.url && clip.model);
    if (clip.url) find("save-sound").href = clip.url;
    find("save-sound").download = clip.name;
    this.timeline.show({ peaks: clip.peaks, lanes: lanes(clip), durationS: clip.durationS });
    if (isRecording) this.timeline.followEnd();
  }

  #playable(isPlayable) {
    find("unplayable").hidden = isPlayable;
    find("play").disabled = !isPlayable;
  }

  #showTime(seconds, isPlaying) {
    find("now").textContent = clock(seconds);
    this.timeline.setTime(seconds, isPlaying);
    const heard = this.transcript.mark(isPlaying || seconds ? seconds : -1);
    if (heard && heard !== this.heard && isPlaying) bringIntoView(heard);
    this.heard = heard;
  }

  #showPlaying(isPlaying) {
    find("play").setAttribute("aria-label", t(isPlaying ? "pause" : "play"));
    find("play").dataset.i18nLabel = isPlaying ? "pause" : "play";
    find("play").querySelector("use").setAttribute("href", isPlaying ? "#icon-pause" : "#icon-play");
  }

  #hear(word) {
    this.player.seek(word.start);
    if (this.clip.url) this.player.play();
  }

  #moveOnTimeline(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const { time } = this.player;
    const places = {
      ArrowRight: () => this.transcript.neighbour(time, 1)?.start,
      ArrowLeft: () => this.transcript.neighbour(time, -1)?.start ?? 0,
      Home: () => 0,
      End: () => this.clip.durationS,
    };
    if (!(event.key in places)) return;
    event.preventDefault();
    const seconds = places[event.key]();
    if (seconds === undefined) return;
    this.player.seek(seconds);
    this.timeline.setTime(seconds, true);
  }

  /** The space bar plays and pauses, but where it already has a meaning. */
  #space(event, isDown) {
    const { target } = event;
    const isOwn = target.matches("button:not(.word), input, select, textarea, summary, a, dialog *");
    if (event.key !== " " || isOwn || find("player").hidden) return;
    event.preventDefault();
    if (isDown && !event.repeat) this.player.toggle();
  }

  async #copy(button, text) {
    await copy(text);
    const label = button.querySelector("span");
    label.textContent = t("copied");
    this.on.announce(t("copied"));
    setTimeout(() => (label.textContent = t(label.dataset.i18n)), COPIED_MS);
  }

  async #save(button) {
    const { format } = button.dataset;
    const { clip } = this;
    if (format === "text") return download(plainText(clip.result), clip.name, format);
    if (format === "json") return download(`${JSON.stringify(clip.result, null, 2)}\n`, clip.name, format);
    button.setAttribute("aria-busy", "true");
    this.on.announce(t("format.busy"));
    try {
      download(await clip.subtitlesAs(format), clip.name, format);
    } catch (error) {
      find("error").hidden = false;
      find("error-title").textContent = title(error);
      find("error-text").textContent = explanation(error);
    } finally {
      button.removeAttribute("aria-busy");
    }
    return null;
  }
}

/** The title of an error, in words. */
export function title(error) {
  const key = `error.${error.code.split(".")[0]}`;
  return t(hasText(key) ? key : "error.title");
}

/** What an error means, in words; of most of them, what the service says. */
export function explanation(error) {
  const key = [`error.${error.code}.text`, `error.${error.code}`].find(hasText);
  const said = key && (key.endsWith(".text") || error.code.includes(".")) ? t(key) : error.message;
  const later = error.retryAfterS ? t("error.later", { seconds: error.retryAfterS }) : "";
  return [said, later].filter(Boolean).join(" ");
}

function facts({ state, durationS, result, wordCount }) {
  const found = [];
  if (durationS) found.push(t("facts.duration", { duration: clock(durationS) }));
  if (BUSY.has(state) && !WAITING.has(state)) found.push(t(`state.${state}`));
  if (result) {
    found.push(t("facts.words", { words: number(wordCount) }));
    if (result.confidence != null) found.push(t("facts.confidence", { confidence: percent(result.confidence) }));
    if (result.language) found.push(t("facts.language", { language: result.language }));
    if (result.inference_time != null) found.push(t("facts.computed", { seconds: number(result.inference_time, 2) }));
  }
  return found.join(" · ");
}

/** A lane for each speaker; one for all if they are not known. */
function lanes({ segments, partial, peaks }) {
  const channels = [...new Set(segments.map(({ channel }) => channel))].filter((channel) => channel !== undefined).sort();
  const words = segments.flatMap((segment) => segment.words ?? []);
  if (!channels.length) {
    const volatile = partial ? [...partial.committed, ...partial.volatile] : [];
    return [{ label: "", channels: peaks?.map((_, channel) => channel) ?? [], words: [...words, ...volatile] }];
  }
  return channels.map((channel) => ({
    label: segments.find((segment) => segment.channel === channel).speaker,
    channels: [channel],
    words: words.filter((word) => word.channel === channel),
  }));
}

function bringIntoView(element) {
  const { top, bottom } = element.getBoundingClientRect();
  if (top >= 0 && bottom <= innerHeight) return;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  element.scrollIntoView({ block: "center", behavior: calm ? "auto" : "smooth" });
}
