// Requests to the service: what it is, uploads with streamed answers, live streams. The only file that knows its API.

const KEY = "dikte.key";

/** An answer of the service that is an error. code: one of its stable codes, or `network`. */
export class ServiceError extends Error {
  constructor(code, message = "", status = 0, retryAfterS = null) {
    super(message);
    this.code = code;
    this.status = status;
    this.retryAfterS = retryAfterS;
  }
}

/** Absolute address of a path of the service, also where a proxy serves it below a prefix. */
export function address(path) {
  return new URL(path, document.baseURI);
}

/** The API key, or an empty text. It is kept until the tab is closed. */
export function apiKey() {
  return sessionStorage.getItem(KEY) ?? "";
}

/** Keep the API key. */
export function setApiKey(key) {
  sessionStorage.setItem(KEY, key);
}

function authorization() {
  return apiKey() ? { Authorization: `Bearer ${apiKey()}` } : {};
}

/** What the service is; see `AboutBody` in app/api/about.py. */
export async function about() {
  const answer = await fetch(address("."), { headers: { Accept: "application/json" }, cache: "no-store" });
  if (!answer.ok) throw new ServiceError("network");
  return answer.json();
}

/** Why the service is not ready; an empty text if it is. */
export async function whyNotReady() {
  const answer = await fetch(address("readyz"), { cache: "no-store" });
  return answer.ok ? "" : ((await answer.json()).error?.message ?? "");
}

/** Throws a ServiceError (`unauthorized`) unless the key is known; costs the service nothing. */
export async function checkKey() {
  const answer = await fetch(address("v1/models"), { headers: authorization() }).catch(() => null);
  if (answer === null) throw new ServiceError("network");
  if (answer.status === 401) throw new ServiceError("unauthorized", "", 401);
}

/**
 * Upload a file to POST /transcribe and read its answer as a stream.
 *
 * fields: further form fields. on: {progress(share), uploaded(), segment(segment)}. Returns {done, cancel}: a promise of
 * the result, and a function that ends it (done then rejects with a ServiceError `cancelled`).
 * XMLHttpRequest, because fetch does not tell how much is uploaded.
 */
export function transcribe(file, name, fields, on) {
  const request = new XMLHttpRequest();
  const form = new FormData();
  for (const [field, value] of Object.entries(fields)) form.append(field, value);
  form.append("file", file, name);
  const done = new Promise((resolve, reject) => {
    const events = new EventReader((kind, data) => {
      if (kind === "segment") on.segment(data);
      if (kind === "result") resolve(data);
      if (kind === "error") reject(errorOf(data, request));
    });
    request.open("POST", address("transcribe"));
    for (const [header, value] of Object.entries(authorization())) request.setRequestHeader(header, value);
    request.upload.onprogress = (event) => on.progress(event.total ? event.loaded / event.total : 0);
    request.upload.onload = () => on.uploaded();
    request.onprogress = () => request.status === 200 && events.read(request.responseText);
    request.onload = () => {
      if (request.status === 200) events.read(request.responseText);
      reject(request.status === 200 ? new ServiceError("network") : errorOf(parsed(request.responseText), request));
    };
    request.onerror = () => reject(new ServiceError("network"));
    request.onabort = () => reject(new ServiceError("cancelled"));
    request.send(form);
  });
  return { done, cancel: () => request.abort() };
}

/** Ask for a file in another format: `srt` or `vtt`. Returns its text. */
export async function transcribeAs(format, file, name, fields) {
  const form = new FormData();
  for (const [field, value] of Object.entries({ ...fields, response_format: format })) form.append(field, value);
  form.append("file", file, name);
  const request = { method: "POST", body: form, headers: authorization() };
  const answer = await fetch(address("transcribe"), request).catch(() => null);
  if (answer === null) throw new ServiceError("network");
  const text = await answer.text();
  if (!answer.ok) {
    const header = { status: answer.status, getResponseHeader: (key) => answer.headers.get(key) };
    throw errorOf(parsed(text), header);
  }
  return text;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

function errorOf(body, request) {
  const { code = "network", message = "" } = body?.error ?? {};
  const retryAfter = request.getResponseHeader("Retry-After");
  return new ServiceError(code, message, request.status, retryAfter === null ? null : Number(retryAfter));
}

/** Reads server-sent events from a growing text. */
class EventReader {
  constructor(onEvent) {
    this.onEvent = onEvent;
    this.place = 0;
  }

  read(text) {
    for (let end; (end = text.indexOf("\n\n", this.place)) >= 0; this.place = end + 2) {
      let kind = "";
      let data = "";
      for (const line of text.slice(this.place, end).split("\n")) {
        if (line.startsWith("event: ")) kind = line.slice(7);
        if (line.startsWith("data: ")) data += line.slice(6);
      }
      if (kind) this.onEvent(kind, JSON.parse(data));
    }
  }
}

/**
 * A live stream on the WebSocket /v1/listen (Deepgram's protocol; `committed_words` is an addition of this service).
 *
 * options: as for /transcribe; those for the language and keywords have an effect. on: {partial({committed, volatile}), final(segment), end(durationS), failed(ServiceError)}; exactly one of the last two
 * is called, once. Words are as in the answers of /transcribe.
 */
export class LiveStream {
  constructor(rateHz, { language, keywords }, on) {
    const url = address("v1/listen");
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const query = { encoding: "linear16", sample_rate: rateHz, channels: 1, interim_results: true };
    if (language) query.language = language;
    if (keywords) query.keyterm = keywords;
    url.search = new URLSearchParams(query);
    this.on = on;
    this.waiting = []; // audio from before the connection
    this.opened = false;
    this.ended = false;
    this.finishing = false;
    this.socket = new WebSocket(url, apiKey() ? ["token", apiKey()] : []);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => this.#open();
    this.socket.onmessage = (event) => this.#receive(JSON.parse(event.data));
    this.socket.onclose = () => this.#fail();
  }

  /** Send samples, an Int16Array. */
  send(samples) {
    if (this.opened) this.socket.send(samples);
    else this.waiting.push(samples);
  }

  /** No more audio comes: the last words are still received. */
  finish() {
    this.finishing = true;
    if (this.opened) this.socket.send(JSON.stringify({ type: "CloseStream" }));
  }

  #open() {
    this.opened = true;
    for (const samples of this.waiting.splice(0)) this.socket.send(samples);
    if (this.finishing) this.finish();
  }

  #receive(message) {
    if (message.type === "Results") {
      const { transcript, words, confidence } = message.channel.alternatives[0];
      const spans = words.map(({ word, start, end, confidence }) => ({ word, start, end, confidence }));
      if (!message.is_final) {
        const count = message.committed_words ?? 0;
        this.on.partial({ committed: spans.slice(0, count), volatile: spans.slice(count) });
      } else if (spans.length) {
        const [first, last] = [spans[0], spans[spans.length - 1]];
        this.on.final({ text: transcript, start: first.start, end: last.end, confidence, words: spans });
      } else {
        this.on.partial({ committed: [], volatile: [] });
      }
    } else if (message.type === "Metadata") {
      this.ended = true;
      this.on.end(message.duration);
    }
  }

  #fail() {
    if (this.ended) return;
    this.ended = true;
    this.on.failed(new ServiceError(this.opened ? "stream" : "stream.refused"));
  }
}
