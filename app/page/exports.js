// What people take along: texts, files, and the command that gives the same.

import { address, apiKey } from "./service.js";

export const KINDS = {
  text: { suffix: "txt", type: "text/plain;charset=utf-8" },
  srt: { suffix: "srt", type: "application/x-subrip;charset=utf-8" },
  vtt: { suffix: "vtt", type: "text/vtt;charset=utf-8" },
  json: { suffix: "json", type: "application/json" },
};

/** The text of a result, as the service's format `text` has it: with speakers, a line for each turn. */
export function plainText(result) {
  if (!result.segments) return `${result.text}\n`;
  let lines = "";
  let speaker = null;
  let place = 0; // in the text of all segments, which has what is between them
  for (const segment of result.segments) {
    const start = result.text.indexOf(segment.text, place);
    const between = start < 0 ? " " : result.text.slice(place, start);
    if (segment.speaker !== speaker) lines += `${lines && "\n"}${segment.speaker}: ${segment.text}`;
    else lines += between + segment.text;
    speaker = segment.speaker;
    if (start >= 0) place = start + segment.text.length;
  }
  return `${lines}\n`;
}

/** The curl command of a request to /transcribe. It names a variable instead of the key. */
export function curlCommand(name, fields) {
  const parts = [fields.stream ? "curl -N" : "curl"];
  if (apiKey()) parts.push('-H "Authorization: Bearer $DIKTE_KEY"');
  parts.push(`-F ${quoted(`file=@${formName(name)}`)}`);
  for (const [field, value] of Object.entries(fields)) parts.push(`-F ${quoted(`${field}=${value}`)}`);
  return `${parts.join(" ")} ${quoted(address("transcribe").href)}`;
}

/** curl splits names at these characters unless they are in quotes. */
function formName(name) {
  return /[;,"\\]/.test(name) ? `"${name.replace(/["\\]/g, "\\$&")}"` : name;
}

/** A word for the shell. */
function quoted(word) {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** Let the browser save a text. */
export function download(text, name, format) {
  const { suffix, type } = KINDS[format];
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = `${name.replace(/\.[^.]*$/, "")}.${suffix}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** Copy a text; also on pages without TLS, where browsers have no clipboard for scripts. */
export async function copy(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "hidden";
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}
