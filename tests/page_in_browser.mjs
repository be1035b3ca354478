// Goes through the page at `/` in Chromium, as people do. Prints what it saw as JSON; tests/test_page_in_browser.py
// starts it and judges. Arguments: address, key, folder of node_modules, folder for screenshots, audio files (a call
// with two sides, one voice), seconds to record.

import { createRequire } from "node:module";
import path from "node:path";

const [url, key, modules, pictures, sides, voice, recordS] = process.argv.slice(2);
const require = createRequire(path.join(path.resolve(modules), "anything.js"));
const { chromium } = require("playwright-core");
const axe = require.resolve("axe-core/axe.min.js");
const seen = { errors: [], foreign: [], axe: {} };

const browser = await chromium.launch({
  executablePath: process.env.DIKTE_CHROMIUM,
  args: [
    "--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
    `--use-file-for-fake-audio-capture=${voice}`,
  ],
});
const context = await browser.newContext({
  viewport: { width: 1120, height: 860 }, colorScheme: "light", locale: "en-US", bypassCSP: false, acceptDownloads: true,
});
const page = await context.newPage();
page.on("pageerror", (error) => seen.errors.push(error.message));
page.on("console", (message) => {
  const expected = /status of (401|415)/.test(message.text());
  if (message.type() === "error" && !expected) seen.errors.push(message.text());
});
page.on("request", (request) => {
  if (!request.url().startsWith(url) && !/^(blob|data):/.test(request.url())) seen.foreign.push(request.url());
});

const text = (selector) => page.textContent(selector).then((found) => found.trim());
const state = (wanted, timeout = 60_000) => page.waitForSelector(`#clip[data-state=${wanted}]`, { timeout });
const audio = () => page.evaluate(() => {
  const { currentTime, paused } = document.getElementById("audio");
  return { currentTime, paused };
});
const picture = (name, options = {}) => page.screenshot({ path: path.join(pictures, `${name}.png`), animations: "disabled", ...options });
const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.textContent);

/** What axe-core finds in both themes. Playwright's evaluate is not held to the page's policy. */
async function examine(name) {
  await page.evaluate(require("node:fs").readFileSync(axe, "utf8"));
  for (const theme of ["light", "dark"]) {
    await page.selectOption("#theme", theme);
    await page.waitForTimeout(300); // until the buttons have their new colours
    const { violations } = await page.evaluate(() => globalThis.axe.run());
    seen.axe[`${name} ${theme}`] = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" ")}`);
  }
  await page.selectOption("#theme", "auto");
}

try {
  await page.goto(url);
  await page.waitForSelector("#status[data-state=ready]");
  await examine("empty");
  await picture("page-empty");

  // An upload: the key is asked for, a wrong one refused, words come
  await page.setInputFiles("#files", sides);
  await page.waitForSelector("#key-dialog[open]");
  await page.fill("#key", "wrong");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#key-wrong:not([hidden])");
  await page.fill("#key", key);
  await page.keyboard.press("Enter");
  await state("done");
  await page.waitForTimeout(500); // the waveform is decoded
  seen.speakers = await page.locator("#segments .speaker").allTextContents();
  seen.words = await page.locator("#segments .word").allTextContents();
  seen.curl = await text("#curl-line");
  seen.painted = await page.evaluate(() => {
    const { width, height } = document.getElementById("wave");
    const { data } = document.getElementById("wave").getContext("2d").getImageData(0, 0, width, height);
    return data.filter((value, place) => place % 4 === 3 && value > 0).length;
  });

  // A word is clicked, and heard
  await page.locator("#segments .word").nth(5).click();
  await page.waitForSelector("#segments .word.is-playing");
  seen.clicked = { ...(await audio()), word: await page.locator("#segments .word").nth(5).textContent() };
  await page.keyboard.press(" ");
  seen.afterSpace = await audio();
  await page.keyboard.press("ArrowRight");
  seen.afterRight = await focused();
  await page.keyboard.press("End");
  seen.afterEnd = await focused();
  await page.keyboard.press("ArrowUp");
  seen.afterUp = await focused();
  await page.keyboard.press("Home");
  seen.afterHome = await focused();
  await examine("words");
  await page.emulateMedia({ colorScheme: "dark" });
  await page.locator("#segments .word").nth(5).click();
  await page.waitForSelector("#segments .word.is-playing");
  await page.keyboard.press(" ");
  await picture("page-call-dark", { clip: { x: 0, y: 0, width: 1120, height: 860 } });
  await page.emulateMedia({ colorScheme: "light" });

  // Files to take along
  seen.files = {};
  for (const format of ["text", "srt", "vtt", "json"]) {
    const [download] = await Promise.all([page.waitForEvent("download"), page.click(`[data-format=${format}]`)]);
    seen.files[format] = { name: download.suggestedFilename(), text: require("node:fs").readFileSync(await download.path(), "utf8") };
  }

  // Everything can be reached with the keyboard alone
  await page.focus(".skip");
  const reached = [];
  for (let step = 0; step < 40; step++) {
    await page.keyboard.press("Tab");
    const name = await page.evaluate(() => {
      const element = document.activeElement;
      const outlined = getComputedStyle(element).outlineStyle !== "none";
      return element === document.body ? "" : `${element.id || element.dataset.format || element.className.split(" ")[0] || element.textContent}${outlined ? "" : " (unseen)"}`;
    });
    if (!name) break;
    reached.push(name);
  }
  seen.reached = reached;

  // A file that is no audio
  await page.setInputFiles("#files", { name: "no-sound.txt", mimeType: "text/plain", buffer: Buffer.from("no sound") });
  await state("failed");
  seen.failed = [await text("#error-title"), await text("#error-text")];
  await examine("failed");

  // Speech, live
  await page.click("#record");
  await state("recording");
  seen.volatile = false;
  seen.committed = false;
  const end = Date.now() + 1000 * Number(recordS);
  let pictured = false;
  while (Date.now() < end) {
    await page.waitForTimeout(150);
    const partial = [await text("#committed"), await text("#volatile")];
    seen.committed ||= partial[0] !== "";
    seen.volatile ||= partial[1] !== "";
    if (!pictured && partial.every(Boolean) && Date.now() > end - 500 * Number(recordS)) {
      await picture("page-live");
      pictured = true;
    }
  }
  seen.liveBeforeStop = await page.locator("#segments .word").allTextContents();
  await examine("recording");
  await page.click("#record");
  await state("done");
  seen.live = await page.locator("#segments .word").allTextContents();
  seen.read = await text("#live");
  await page.locator("#segments .word").nth(3).click();
  await page.waitForSelector("#segments .word.is-playing");
  seen.recordingHeard = await audio();
  await page.keyboard.press(" ");

  // Keywords, for a file that is dropped
  await page.click("#options summary");
  await page.fill("#keywords", "PARK, Merhaba");
  const dropped = await page.evaluateHandle(({ name, data }) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0))], name));
    return transfer;
  }, { name: "dropped.wav", data: require("node:fs").readFileSync(sides).toString("base64") });
  await page.dispatchEvent("body", "dragenter", { dataTransfer: dropped });
  seen.dropShown = await page.isVisible("#drop");
  await page.dispatchEvent("body", "drop", { dataTransfer: dropped });
  await page.waitForFunction(() => document.getElementById("clip-name").textContent === "dropped.wav");
  await state("done");
  seen.dropHidden = await page.isHidden("#drop");
  seen.dropped = await page.locator("#segments .word").allTextContents();

  // Cancel: the second of two files waits for the first
  await page.fill("#keywords", "");
  await page.setInputFiles("#files", [voice, sides]);
  await page.locator("#clip-list button").first().click();
  await page.click("#cancel");
  await state("cancelled");
  seen.cancelled = await text("#error-title");

  // Turkish, on a phone
  await page.selectOption("#language", "tr");
  seen.turkish = [await page.getAttribute("html", "lang"), await text("#record")];
  await page.setViewportSize({ width: 390, height: 844 });
  await page.emulateMedia({ colorScheme: "dark" });
  await page.evaluate(() => scrollTo(0, 0));
  await page.waitForTimeout(300);
  seen.sideways = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
  await picture("page-phone-dark");
  await examine("phone");
} finally {
  console.log(JSON.stringify(seen));
  await browser.close();
}
