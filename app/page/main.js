// Connects the parts of the page.

import { ClipView, explanation, title } from "./clip-view.js";
import { Clips } from "./clips.js";
import { language, setLanguage, t, translatePage } from "./i18n.js";
import { showModel } from "./model-view.js";
import { about, apiKey, setApiKey, whyNotReady } from "./service.js";

const LOADING_POLL_MS = 1500;
const POLL_MS = 60_000;
const find = (id) => document.getElementById(id);

let service = null; // what the service says of itself
let announced = 0; // segments of the recording that were read out

const clips = new Clips({ changed, askForKey, options });
const view = new ClipView({
  cancel: (clip) => clips.cancel(clip),
  retry: (clip) => clips.again(clip),
  loaded: (clip, durationS) => clips.findPeaks(clip, durationS),
  announce,
});

let waiting = null; // for the next frame: changes come faster than they can be seen

function changed(clip) {
  waiting ??= requestAnimationFrame(() => {
    waiting = null;
    showClips();
    showRecordButton();
    if (view.clip) view.show();
  });
  if (clip.state === "recording" || clip.state === "finishing") {
    for (; announced < clip.segments.length; announced++) announce(clip.segments[announced].text);
  }
  if (clip.state === "done" && !clip.told) {
    announce(t("announce.done", { name: clip.name, words: clip.wordCount }));
    refresh();
  }
  if (clip.state === "failed" && !clip.told) refresh();
  clip.told = clip.state === "done" || clip.state === "failed";
}

function announce(text) {
  const line = document.createElement("p");
  line.textContent = text;
  find("live").append(line);
  while (find("live").childElementCount > 5) find("live").firstElementChild.remove();
}

function choose(clip) {
  view.choose(clip);
  showClips();
}

function showClips() {
  document.body.dataset.empty = String(!clips.all.length);
  find("clips").hidden = clips.all.length < 2;
  const items = clips.all.map((clip) => {
    clip.tab ??= newTab(clip);
    const [name, state] = clip.tab.firstElementChild.children;
    name.textContent = clip.name;
    state.textContent = clip.state === "done" ? "" : t(`state.${clip.state}`);
    clip.tab.firstElementChild.setAttribute("aria-current", String(clip === view.clip));
    return clip.tab;
  });
  if (items.length !== find("clip-list").childElementCount) find("clip-list").replaceChildren(...items);
}

function newTab(clip) {
  const [item, button] = [document.createElement("li"), document.createElement("button")];
  button.type = "button";
  button.append(document.createElement("span"), document.createElement("span"));
  button.lastElementChild.className = "tab-state";
  button.onclick = () => choose(clip);
  item.append(button);
  return item;
}

// Files

function addFiles(files) {
  const added = [...files].map((file) => clips.addFile(file));
  if (added.length) choose(added[0]);
}

find("choose").onclick = () => find("files").click();
find("files").onchange = ({ target }) => {
  addFiles(target.files);
  target.value = "";
};

let depth = 0; // of elements that a file is dragged over
const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
addEventListener("dragenter", (event) => hasFiles(event) && (find("drop").hidden = !++depth));
addEventListener("dragleave", (event) => hasFiles(event) && (find("drop").hidden = !--depth));
addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
addEventListener("drop", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  depth = 0;
  find("drop").hidden = true;
  addFiles(event.dataTransfer.files);
});

// Recording

find("record").onclick = async () => {
  if (clips.recording) {
    await clips.stop();
    return;
  }
  find("record").disabled = true;
  find("record-error").hidden = true;
  try {
    announced = 0;
    choose(await clips.record((number) => `${t("clip.recording", { number })}.wav`, service));
    announce(t("announce.recording"));
  } catch (error) {
    find("record-error").hidden = false;
    find("record-error").textContent = [title(error), explanation(error)].filter(Boolean).join(". ");
  } finally {
    find("record").disabled = false;
    showRecordButton();
  }
};

function showRecordButton() {
  const isRecording = clips.recording !== null;
  const button = find("record");
  button.classList.toggle("is-recording", isRecording);
  button.querySelector("use").setAttribute("href", isRecording ? "#icon-stop" : "#icon-mic");
  button.querySelector("span").textContent = t(isRecording ? "stop" : "start.record");
}

addEventListener("beforeunload", (event) => clips.recording && event.preventDefault());

// Options and key

function options() {
  const wanted = { channels: find("channels").value, keywords: find("keywords").value.trim() };
  if (service?.options.detects_language) wanted.language = find("speech-language").value.trim();
  if (service?.options.translates) wanted.task = find("task").value;
  if (service && !service.options.times_words) wanted.timestamps = "none";
  return Object.fromEntries(Object.entries(wanted).filter(([, value]) => value));
}

let asking = null; // an upload and a recording may both need the key

function askForKey() {
  asking ??= keyFromDialog().finally(() => (asking = null));
  return asking;
}

function keyFromDialog() {
  const dialog = find("key-dialog");
  find("key-wrong").hidden = !apiKey();
  find("key").value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    find("key-form").onsubmit = () => setApiKey(find("key").value.trim());
    find("key-cancel").onclick = () => dialog.close("");
    dialog.onclose = () => resolve(dialog.returnValue === "use");
  });
}

// The service

async function refresh() {
  clearTimeout(refresh.timer);
  let isReady = false;
  try {
    service = await about();
    isReady = service.ready;
    const reason = service.ready ? "" : await whyNotReady();
    showStatus(service.ready ? "ready" : "waiting", { model: service.model, reason });
    showModel(service);
    find("options").querySelector("[data-for=languages]").hidden = !service.options.detects_language;
    find("options").querySelector("[data-for=translation]").hidden = !service.options.translates;
  } catch {
    showStatus("gone");
  }
  refresh.timer = setTimeout(refresh, isReady ? POLL_MS : LOADING_POLL_MS);
}

function showStatus(state, parts = {}) {
  find("status").dataset.state = state;
  find("status-text").textContent = t(`status.${state}`, parts);
}

// The page itself

find("language").value = language();
find("language").onchange = ({ target }) => {
  setLanguage(target.value);
  translatePage();
  showRecordButton();
  showClips();
  view.rewrite();
  refresh();
};

find("theme").value = document.documentElement.dataset.theme ?? "auto";
find("theme").onchange = ({ target }) => {
  if (target.value === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = target.value;
  localStorage.setItem("dikte.theme", target.value);
  view.timeline.draw();
};
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => view.timeline.draw());

translatePage();
showRecordButton();
showClips();
refresh();
