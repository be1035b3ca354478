// Sound as pictures and files: peaks for the waveform, and recordings as WAV.

export const PEAKS_PER_S = 100;
const DECODE_HZ = 8000; // browsers resample while they decode, so long files take less memory
const MAX_DECODED_BYTES = 300e6;
const MAX_DECODED_S = 3600;
const WAV_HEADER_BYTES = 44;

/** The loudest sample, 0 to 1, of each hundredth of a second; grows with the sound. */
export class Peaks {
  constructor(rateHz) {
    this.size = rateHz / PEAKS_PER_S;
    this.values = [];
    this.loudest = 0;
    this.seen = 0;
  }

  /** Add samples; scale: value of the loudest possible sample. */
  add(samples, scale = 1) {
    let next = (this.values.length + 1) * this.size;
    for (const sample of samples) {
      const size = Math.abs(sample) / scale;
      if (size > this.loudest) this.loudest = size;
      if (++this.seen >= next) {
        this.values.push(this.loudest);
        this.loudest = 0;
        next = (this.values.length + 1) * this.size;
      }
    }
    return this;
  }
}

/**
 * The peaks of a file: one Peaks for each channel. Null if the browser cannot decode it or it is too long for that.
 * durationS: what an audio element says, NaN if that cannot play it either.
 */
export async function decodePeaks(file, durationS) {
  if (file.size > MAX_DECODED_BYTES || durationS > MAX_DECODED_S) return null;
  try {
    const decoder = new OfflineAudioContext(1, 1, DECODE_HZ);
    const sound = await decoder.decodeAudioData(await file.arrayBuffer());
    const channels = Array.from({ length: sound.numberOfChannels }, (_, channel) => sound.getChannelData(channel));
    return channels.map((samples) => new Peaks(sound.sampleRate).add(samples));
  } catch {
    return null;
  }
}

/** A WAV file of 16-bit mono samples, a list of Int16Arrays. */
export function wavFile(parts, rateHz) {
  const bytes = 2 * parts.reduce((sum, part) => sum + part.length, 0);
  const header = new DataView(new ArrayBuffer(WAV_HEADER_BYTES));
  const text = (place, letters) => [...letters].forEach((letter, at) => header.setUint8(place + at, letter.charCodeAt(0)));
  text(0, "RIFF");
  header.setUint32(4, WAV_HEADER_BYTES - 8 + bytes, true);
  text(8, "WAVEfmt ");
  header.setUint32(16, 16, true); // bytes of the format
  header.setUint16(20, 1, true); // PCM
  header.setUint16(22, 1, true); // channels
  header.setUint32(24, rateHz, true);
  header.setUint32(28, 2 * rateHz, true);
  header.setUint16(32, 2, true); // bytes per frame
  header.setUint16(34, 16, true); // bits per sample
  text(36, "data");
  header.setUint32(40, bytes, true);
  return new Blob([header, ...parts], { type: "audio/wav" });
}
