// Runs on the audio thread: turns the microphone's samples into 16-bit PCM and passes them on, 50 ms at a time.

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.samples = new Int16Array(Math.round(sampleRate / 20));
    this.filled = 0;
    this.running = true;
    this.port.onmessage = () => {
      this.running = false;
      this.#pass(this.samples.slice(0, this.filled));
      this.port.postMessage("end");
    };
  }

  process([input]) {
    const channel = input[0];
    if (!channel || !this.running) return this.running;
    for (const sample of channel) {
      const limited = Math.max(-1, Math.min(1, sample));
      this.samples[this.filled++] = Math.round(limited * 32767);
      if (this.filled === this.samples.length) {
        this.#pass(this.samples.slice());
        this.filled = 0;
      }
    }
    return true;
  }

  #pass(samples) {
    this.port.postMessage(samples, [samples.buffer]);
  }
}

registerProcessor("capture", Capture);
