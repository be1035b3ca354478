// Plays the sound of a clip and tells where it is.

export class Player {
  /** audio: an audio element. on: {time(seconds, isPlaying), state(isPlaying), loaded(durationS), unplayable()}. */
  constructor(audio, on) {
    this.audio = audio;
    this.on = on;
    this.url = null;
    for (const event of ["play", "pause", "ended"]) audio.addEventListener(event, () => this.#changed());
    for (const event of ["seeking", "seeked"]) audio.addEventListener(event, () => this.#tell());
    audio.addEventListener("loadedmetadata", () => on.loaded(audio.duration));
    audio.addEventListener("error", () => this.url && on.unplayable());
  }

  get isPlaying() {
    return !this.audio.paused && !this.audio.ended;
  }

  get time() {
    return this.audio.currentTime;
  }

  /** Take another sound; null for none. */
  load(url) {
    if (url === this.url) return;
    this.url = url;
    const { playbackRate } = this.audio;
    this.audio.pause();
    if (url) this.audio.src = url;
    else this.audio.removeAttribute("src");
    this.audio.load();
    this.audio.defaultPlaybackRate = playbackRate;
  }

  toggle() {
    if (this.isPlaying) this.audio.pause();
    else this.play();
  }

  play() {
    this.audio.play().catch(() => {}); // unplayable formats are told by the event `error`
  }

  seek(seconds) {
    this.audio.currentTime = Math.max(0, seconds);
    this.#tell();
  }

  setRate(rate) {
    this.audio.playbackRate = rate;
    this.audio.defaultPlaybackRate = rate;
  }

  #changed() {
    this.on.state(this.isPlaying);
    this.#tell();
    if (this.isPlaying) this.#follow();
  }

  #follow() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.#tell();
      if (this.isPlaying) this.#follow();
    });
  }

  #tell() {
    this.on.time(this.audio.currentTime, this.isPlaying);
  }
}
