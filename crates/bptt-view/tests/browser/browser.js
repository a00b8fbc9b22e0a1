// A browser without a network, and the command whose pages it opens.

import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const FLAGS = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
];

/** A folder that is gone when the tests are. */
export function folder() {
  const path = mkdtempSync(join(tmpdir(), "bptt-browser-"));
  process.on("exit", () => rmSync(path, { recursive: true, force: true, maxRetries: 3 }));
  return path;
}

/** Runs `bptt` in a folder; what it printed. */
export function bptt(where, ...args) {
  return execFileSync(process.env.BPTT, args, { cwd: where, encoding: "utf8", maxBuffer: 1 << 28 });
}

/** Starts `bptt` with a page: the process, what it printed once it has ended, and the page's address. */
export async function serving(where, ...args) {
  const child = spawn(process.env.BPTT, args, { cwd: where, stdio: ["ignore", "pipe", "pipe"] });
  process.on("exit", () => child.kill());
  let printed = "";
  child.stdout.on("data", (data) => (printed += data));
  const ended = new Promise((done) => child.on("close", (code) => done({ code, printed })));
  const url = await new Promise((found, failed) => {
    let talk = "";
    child.stderr.on("data", (data) => {
      talk += data;
      const address = /http:\/\/\S+/u.exec(talk);
      if (address) found(address[0]);
    });
    child.on("close", () => failed(new Error(`there is no page: ${talk}`)));
  });
  return { child, ended, url };
}

/** A browser with an empty profile and no network, or this machine's only. */
export async function launch({ offline = true } = {}) {
  return chromium.launchPersistentContext(folder(), {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [...FLAGS, "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
    headless: true, offline, viewport: { width: 1280, height: 900 },
  });
}

/** Opens a report from disk. */
export const open = (browser, file, { hash = "", ...options } = {}) =>
  visit(browser, pathToFileURL(file).href + hash, { ...options, allowed: /^(file|data|blob):/u });

/** Looks every 200 ms for charts that are on the page and show neither a line, a bar or an image nor that they are being
 * drawn; for the page, whose `emptyCharts` gets their names, and whose `samples` counts. */
export function watchCharts() {
  Object.assign(globalThis, { emptyCharts: [], samples: 0 });
  setInterval(() => {
    globalThis.samples += 1;
    for (const chart of document.querySelectorAll(".chart")) {
      const isThere = chart.offsetWidth > 0 && chart.offsetHeight > 0;
      const isEmpty = chart.childNodes.length > 0 && !chart.querySelector(".scatterlayer .trace, .barlayer .point, .heatmaplayer image");
      if (isThere && isEmpty) globalThis.emptyCharts.push(chart.id);
    }
  }, 200);
}

/** Notes when the lead picture is inserted, whether plotly is there by then, and when it is painted; for the page, whose `lead`
 * gets this. */
export function watchLead() {
  new MutationObserver((_, observer) => {
    if (!document.querySelector("#lead svg")) return;
    observer.disconnect();
    const withPlotly = "Plotly" in globalThis;
    requestAnimationFrame(() => setTimeout(() => (globalThis.lead = { withPlotly, painted: performance.now() })));
  }).observe(document, { childList: true, subtree: true });
}

/** What of the page cannot be read without scrolling, apart from the page itself. */
export function hiddenByScrolling(page) {
  return page.evaluate(() => {
    const cut = (node) => {
      const style = getComputedStyle(node);
      const wide = style.overflowX !== "visible" && node.scrollWidth > node.clientWidth + 1;
      return wide || (style.overflowY !== "visible" && node.scrollHeight > node.clientHeight + 1);
    };
    const nodes = [...document.querySelectorAll("main *")].filter((node) => !node.closest("svg") && node.offsetHeight > 0);
    const beyond = ({ right }) => right > document.documentElement.clientWidth + 1;
    const outside = [...document.querySelectorAll(".plot, .main-svg, table")].filter((node) => beyond(node.getBoundingClientRect()));
    return [...nodes.filter(cut), ...outside].map((node) => node.id || node.getAttribute("aria-label") || node.className);
  });
}

/** Opens a page, where `init` is called first. `problems` gets what the console and the network had to say; `busy` tells how
 * long its main thread has been at work, ms. */
export async function visit(browser, url, { width = 1280, colorScheme = "light", init, allowed = /^(http:\/\/127\.0\.0\.1:|data:|blob:)/u } = {}) {
  const page = await browser.newPage();
  if (init) await page.addInitScript(init);
  const problems = [];
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && problems.push(message.text()));
  page.on("request", (request) => allowed.test(request.url()) || problems.push(request.url()));
  await page.setViewportSize({ width, height: 900 });
  await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
  const session = await browser.newCDPSession(page);
  await session.send("Performance.enable", { timeDomain: "threadTicks" });
  const busy = async () => {
    const { metrics } = await session.send("Performance.getMetrics");
    return 1000 * metrics.find(({ name }) => name === "TaskDuration").value;
  };
  await page.goto(url);
  await page.waitForSelector("html[data-ready]", { state: "attached" });
  return { page, problems, busy };
}

/** Brings a part of the page into view and waits for its chart. */
export async function chart(page, id) {
  await page.locator(`#${id}`).scrollIntoViewIfNeeded();
  await page.waitForSelector(`#${id} .main-svg`);
  return page.locator(`#${id}`);
}

/** What axe finds that is serious or critical. */
export async function violations(page) {
  // Evaluated, not inserted: the page's policy lets no foreign script in.
  await page.evaluate(`${readFileSync(createRequire(import.meta.url).resolve("axe-core"), "utf8")}; undefined`);
  const { violations: found } = await page.evaluate(() => axe.run());
  return found
    .filter(({ impact }) => ["serious", "critical"].includes(impact))
    .map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => node.html).join(" ")}`);
}
