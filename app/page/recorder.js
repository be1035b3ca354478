// The microphone, as 16-bit PCM.

import { address, ServiceError } from "./service.js";

const WANTED_RATE_HZ = 16000;
/** Echo and noise filters of browsers distort speech more than they help a recognizer. */
const CONSTRAINTS = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: true };

/** An open microphone. rateHz: of its samples. Made with `openMicrophone`. */
export class Microphone {
  constructor(stream, context, node) {
    this.rateHz = context.sampleRate;
    this.stream = stream;
    this.context = context;
    this.node = node;
  }

  /** Call onSamples with Int16Arrays as they come. onLost: called if the microphone is unplugged or taken away. */
  start(onSamples, onLost) {
    this.onSamples = onSamples;
    this.node.port.onmessage = ({ data }) => data !== "end" && onSamples(data);
    this.stream.getAudioTracks()[0].onended = onLost;
  }

  /** Release the microphone, after its last samples were passed on. */
  async stop() {
    this.stream.getAudioTracks()[0].onended = null;
    await new Promise((resolve) => {
      this.node.port.onmessage = ({ data }) => (data === "end" ? resolve() : this.onSamples(data));
      this.node.port.postMessage("stop");
      setTimeout(resolve, 500); // in case the audio thread does not run, as in a suspended tab
    });
    for (const track of this.stream.getTracks()) track.stop();
    await this.context.close();
  }
}

/** Ask for the microphone. Throws a ServiceError whose code says why there is none. */
export async function openMicrophone() {
  if (!navigator.mediaDevices) throw new ServiceError("microphone.insecure");
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: CONSTRAINTS });
  } catch (error) {
    throw new ServiceError(error.name === "NotAllowedError" ? "microphone.refused" : "microphone.missing");
  }
  try {
    return await connect(stream, new AudioContext({ sampleRate: WANTED_RATE_HZ }));
  } catch {
    return connect(stream, new AudioContext()); // Firefox does not resample microphones; the service does
  }
}

async function connect(stream, context) {
  try {
    await context.audioWorklet.addModule(address("page/capture.js"));
    const node = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0 });
    context.createMediaStreamSource(stream).connect(node);
    await context.resume();
    return new Microphone(stream, context, node);
  } catch (error) {
    await context.close();
    throw error;
  }
}
