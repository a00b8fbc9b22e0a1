// A browser without a network, and the command whose pages it opens.

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
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

/** A browser with an empty profile and no network. */
export async function launch() {
  return chromium.launchPersistentContext(folder(), {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: FLAGS, headless: true, offline: true, viewport: { width: 1280, height: 900 },
  });
}

/** Opens a report. `problems` gets what the console and the network had to say; `busy` tells how long its main thread has
 * been at work, ms. */
export async function open(browser, file, { hash = "", width = 1280, colorScheme = "light" } = {}) {
  const page = await browser.newPage();
  const problems = [];
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && problems.push(message.text()));
  page.on("request", (request) => /^(file|data|blob):/u.test(request.url()) || problems.push(request.url()));
  await page.setViewportSize({ width, height: 900 });
  await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
  const session = await browser.newCDPSession(page);
  await session.send("Performance.enable", { timeDomain: "threadTicks" });
  const busy = async () => {
    const { metrics } = await session.send("Performance.getMetrics");
    return 1000 * metrics.find(({ name }) => name === "TaskDuration").value;
  };
  await page.goto(pathToFileURL(file).href + hash);
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
  await page.addScriptTag({ path: createRequire(import.meta.url).resolve("axe-core") });
  const { violations: found } = await page.evaluate(() => axe.run());
  return found
    .filter(({ impact }) => ["serious", "critical"].includes(impact))
    .map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => node.html).join(" ")}`);
}
