// What the page transcribes: files, one after the other, and recordings, while they are made.

import { openMicrophone } from "./recorder.js";
import { LiveStream, ServiceError, checkKey, transcribe, transcribeAs } from "./service.js";
import { Peaks, decodePeaks, wavFile } from "./sound.js";

/** A state in which something goes on. */
export const BUSY = new Set(["queued", "uploading", "working", "recording", "finishing"]);
const LOUDEST_SAMPLE = 32768;

/**
 * One file or recording, and its words so far. Times are seconds.
 *
 * state: `queued`, `uploading`, `working` (the service computes), `recording`, `finishing` (the last words come), `done`,
 * `failed` (with `error`) or `cancelled`. segments: as in the service's stream. partial: {committed, volatile}, the words
 * that are not final, or null. result: the service's answer, or one of the same shape for a recording. fields: the form
 * fields of the last request. share: of the upload, 0 to 1.
 */
class Clip {
  constructor(name, changed) {
    this.name = name;
    this.changed = () => changed(this);
    this.file = null;
    this.url = null;
    this.state = "queued";
    this.share = 0;
    this.segments = [];
    this.partial = null;
    this.result = null;
    this.error = null;
    this.peaks = null;
    this.durationS = 0;
    this.fields = {};
    this.subtitles = {};
  }

  get wordCount() {
    return this.segments.reduce((sum, { words, text }) => sum + (words ?? text.split(/\s+/)).length, 0);
  }

  setFile(file) {
    this.file = file;
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = URL.createObjectURL(file);
  }

  /** Subtitles, `srt` or `vtt`, which the service writes. */
  async subtitlesAs(format) {
    const fields = Object.fromEntries(Object.entries(this.fields).filter(([name]) => !["stream", "timestamps"].includes(name)));
    this.subtitles[format] ??= await transcribeAs(format, this.file, this.name, fields);
    this.fields = { ...fields, response_format: format };
    this.changed();
    return this.subtitles[format];
  }

  fail(error) {
    this.state = error.code === "cancelled" ? "cancelled" : "failed";
    this.error = error instanceof ServiceError ? error : new ServiceError("page", String(error));
    this.partial = null;
    this.changed();
  }
}

/**
 * All clips. on: {changed(clip), askForKey() -> promise of whether there is a new key, options() -> form fields}.
 */
export class Clips {
  constructor(on) {
    this.on = on;
    this.all = [];
    this.queue = Promise.resolve();
    this.recording = null;
    this.recordings = 0;
  }

  /** Transcribe a file after those that wait. */
  addFile(file) {
    const clip = new Clip(file.name, this.on.changed);
    clip.setFile(file);
    this.all.unshift(clip);
    this.again(clip);
    return clip;
  }

  /** Transcribe the file of a clip, from the start. */
  again(clip) {
    Object.assign(clip, { state: "queued", segments: [], result: null, error: null, share: 0, subtitles: {} });
    clip.fields = { timestamps: "word", stream: "true", ...this.on.options() };
    clip.changed();
    this.queue = this.queue.then(() => (clip.state === "queued" ? this.#upload(clip) : null));
  }

  /** End the work on a clip. */
  cancel(clip) {
    if (clip.request) clip.request.cancel();
    else clip.fail(new ServiceError("cancelled"));
  }

  async #upload(clip) {
    clip.state = "uploading";
    clip.changed();
    clip.request = transcribe(clip.file, clip.name, clip.fields, {
      progress: (share) => {
        clip.share = share;
        clip.changed();
      },
      uploaded: () => {
        clip.state = "working";
        clip.changed();
      },
      segment: (segment) => {
        clip.segments.push(segment);
        clip.durationS = Math.max(clip.durationS, segment.end);
        clip.changed();
      },
    });
    try {
      clip.result = await clip.request.done;
      clip.durationS = clip.result.duration;
      clip.state = "done";
      clip.changed();
    } catch (error) {
      if (error.code === "unauthorized" && (await this.on.askForKey())) {
        clip.request = null;
        clip.segments = [];
        await this.#upload(clip);
      } else {
        clip.fail(error);
      }
    }
    clip.request = null;
  }

  /** Find the peaks of a file, once its player knows its duration (NaN: it cannot play it). */
  async findPeaks(clip, durationS) {
    if (clip.peaks || clip.lookedAt === clip.file) return;
    clip.lookedAt = clip.file;
    clip.peaks = await decodePeaks(clip.file, durationS);
    clip.changed();
  }

  /** Record the microphone. Returns the clip. Throws a ServiceError if there is no microphone or no key. */
  async record(name, about) {
    await this.#haveKey(about);
    const microphone = await openMicrophone();
    const clip = new Clip(name(++this.recordings), this.on.changed);
    const parts = [];
    const peaks = new Peaks(microphone.rateHz);
    Object.assign(clip, { state: "recording", peaks: [peaks], model: about?.model, backend: about?.backend });
    const stream = new LiveStream(microphone.rateHz, this.on.options(), {
      partial: (partial) => {
        clip.partial = partial;
        clip.changed();
      },
      final: (segment) => {
        clip.partial = null;
        clip.segments.push(segment);
        clip.changed();
      },
      end: () => this.#finished(clip),
      failed: (error) => this.stop().then(() => clip.fail(error)),
    });
    microphone.start(
      (samples) => {
        peaks.add(samples, LOUDEST_SAMPLE);
        clip.durationS += samples.length / microphone.rateHz;
        parts.push(samples);
        if (!stream.ended) stream.send(samples);
        clip.changed();
      },
      () => this.stop(),
    );
    this.recording = { clip, microphone, stream, parts };
    this.all.unshift(clip);
    clip.changed();
    return clip;
  }

  /** End the recording, if there is one; its last words come afterwards. */
  async stop() {
    const { clip, microphone, stream, parts } = this.recording ?? {};
    if (!clip) return;
    this.recording = null;
    clip.state = "finishing";
    clip.changed();
    await microphone.stop();
    clip.setFile(wavFile(parts, microphone.rateHz));
    clip.fields = { timestamps: "word", ...this.on.options() };
    if (!stream.ended) stream.finish();
    clip.changed();
  }

  async #finished(clip) {
    await this.stop(); // the service may end a stream itself
    const words = clip.segments.flatMap((segment) => segment.words);
    const { model, backend } = clip;
    const text = clip.segments.map((segment) => segment.text).join(" ");
    const duration = Math.round(clip.durationS * 1000) / 1000;
    Object.assign(clip, { partial: null, state: "done", result: { text, duration, model, backend, words } });
    clip.changed();
  }

  async #haveKey(about) {
    if (!about?.key_required) return;
    for (;;) {
      try {
        await checkKey();
        return;
      } catch (error) {
        if (error.code !== "unauthorized" || !(await this.on.askForKey())) throw error;
      }
    }
  }
}
