// Shows the model: what it is, how good and how fast.

import { number, percent, t } from "./i18n.js";

/** Write what the service says of itself (`about` in service.js) into the page. */
export function showModel(about) {
  const { cpu } = about;
  const facts = [
    ["model.name", about.model],
    ["model.backend", about.backend],
    ["model.language", about.language && languageName(about.language)],
    ["model.proofs", t(about.proven ? "model.proven" : "model.unproven")],
    ["model.speed", about.speed && t("model.speed.value", { speed: number(about.speed) })],
    ["model.cpu", [cpu.model, ...cpu.features].join(", ")],
    ["model.version", about.version],
  ];
  const list = facts.filter(([, value]) => value).map(([key, value]) => {
    const entry = document.createElement("div");
    entry.append(textElement("dt", t(key)), textElement("dd", value));
    return entry;
  });
  document.getElementById("facts").replaceChildren(...list);
  document.getElementById("accuracy").replaceChildren(...(about.accuracy.length ? [table(about.accuracy)] : []));
}

function table(sets) {
  const element = document.createElement("table");
  element.append(textElement("caption", t("accuracy")));
  const head = element.createTHead().insertRow();
  for (const key of ["accuracy.set", "accuracy.clips", "accuracy.wer", "accuracy.cer"]) {
    const cell = textElement("th", t(key));
    cell.scope = "col";
    head.append(cell);
  }
  const body = element.createTBody();
  for (const { set, clips, wer, cer } of sets) {
    const row = body.insertRow();
    const name = textElement("th", set);
    name.scope = "row";
    row.append(name, textElement("td", number(clips)), rate(wer), rate(cer));
  }
  return element;
}

function rate({ rate, low, high }) {
  const cell = textElement("td", percent(rate, 1));
  const interval = textElement("span", ` ${percent(low, 1)} – ${percent(high, 1)}`);
  interval.className = "interval";
  cell.append(interval);
  return cell;
}

function languageName(code) {
  return new Intl.DisplayNames([document.documentElement.lang], { type: "language" }).of(code);
}

function textElement(kind, text) {
  const element = document.createElement(kind);
  element.textContent = text;
  return element;
}
