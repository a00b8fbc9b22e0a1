// The page of `bptt serve` and `bptt train --serve`, with a training that really goes on.

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { bptt, chart, folder, launch, serving, violations, visit, watchCharts, watchLead } from "./browser.js";

const TEXT = "Because no food was available in the market, John had to skip dinner.";

let [where, browser, served] = [];

const TRAIN = ["--generate", "cue_sentences", "--sentences", "500", "--level", "word", "--hidden", "12", "--window", "16", "--batch", "4", "--quiet"];

before(async () => {
  where = folder();
  bptt(where, "train", ...TRAIN, "--cell", "lstm", "--steps", "64", "--trace-every", "8", "--evaluate-every", "32", "--out", "runs/lstm", "--no-report");
  bptt(where, "train", ...TRAIN, "--steps", "32", "--trace-every", "8", "--out", "runs/<img src=x onerror=alert(1)>", "--no-report");
  served = await serving(where, "serve", "runs", "--port", "0");
  browser = await launch({ offline: false });
});

after(async () => {
  served.child.kill();
  await browser.close();
});

const at = (path, options) => visit(browser, served.url + path, options);

const near = (actual, expected) => assert.ok(Math.abs(actual - expected) <= 1e-5 * Math.abs(expected) + 1e-12, `${actual} is not ${expected}`);

const value = async (page, selector) => Number(await page.locator(selector).first().getAttribute("value"));

/** Waits until the server has computed anew. */
async function computed(page, change) {
  const count = () => page.evaluate(() => Number(document.documentElement.dataset.computed ?? 0));
  const before = await count();
  await change();
  await page.waitForFunction((n) => Number(document.documentElement.dataset.computed) > n, before);
}

const slide = (page, id, to) => page.locator(`#${id}`).evaluate((node, number) => {
  node.value = number;
  node.dispatchEvent(new Event("input", { bubbles: true }));
}, String(to));

describe("live", () => {
  test("a training is watched, paused, changed and stopped, and leaves a usable run", async () => {
    const { ended, url } = await serving(where, "train", ...TRAIN, "--steps", "100000000", "--trace-every", "20", "--evaluate-every", "200", "--out", "runs/now", "--serve", "--port", "0");
    const { page, problems } = await visit(browser, `${url}live`, { init: watchCharts });
    const step = () => page.evaluate(() => document.getElementById("progress").value);
    const status = (name) => page.waitForSelector(`html[data-status=${name}]`, { state: "attached" });
    await status("training");
    assert.equal(await page.locator("#name").textContent(), "now");
    const first = await step();
    await page.waitForFunction((n) => document.getElementById("progress").value > n + 20, first);
    await chart(page, "curves-chart");
    const curves = () => page.evaluate(() => document.getElementById("curves-chart").data.map(({ name, x }) => [name, x.length]));
    const names = (await curves()).map(([name]) => name);
    // Other runs are laid over it by choice only.
    assert.equal(await page.locator("#runs input:checked").count(), 0);
    assert.ok(names.every((name) => !name.includes("lstm")));
    for (const name of ["loss in training", "gradient norm", "after clipping", "horizon"]) assert.ok(names.includes(name), `${names}`);
    await page.locator("#heatmap").waitFor();
    await chart(page, "heatmap-chart");
    const shown = () => page.locator("#ledger-words").textContent();
    const ledger = await shown();
    await page.waitForFunction((words) => document.getElementById("ledger-words").textContent !== words, ledger);
    await chart(page, "rainbow-chart");
    await page.locator("input[value=share]").check();
    // A chart is drawn when it is near the window, from which the choice above may have led away.
    await chart(page, "rainbow-chart");
    await page.waitForFunction(() => document.getElementById("rainbow-chart").layout.yaxis.title.text === "share of the gradient");

    await page.locator("#pause").click();
    await status("paused");
    const paused = await step();
    await page.waitForTimeout(700);
    assert.equal(await step(), paused);
    await page.locator("#rate").fill("0.0625");
    await page.locator("#rate-form button").click();
    await page.locator("#answer", { hasText: "0.0625" }).waitFor();
    await page.locator("#pause").click();
    await status("training");
    await page.waitForFunction((n) => document.getElementById("progress").value > n, paused);

    await page.locator("#runs label", { hasText: "lstm" }).click();
    await page.waitForFunction(() => document.getElementById("curves-words").textContent.includes("lstm: 64 updates"));

    await page.locator("#stop").click();
    await status("ended");
    assert.match(await page.locator("#status").textContent(), /^Ended, stopped/u);
    const { code } = await ended;
    assert.equal(code, 0);
    const run = join(where, "runs/now");
    assert.ok(existsSync(join(run, "model.safetensors")));
    const metrics = readFileSync(join(run, "metrics.jsonl"), "utf8").trim().split("\n").map((line) => JSON.parse(line));
    assert.equal(metrics.at(-1).ending, "stopped");
    const rates = metrics.filter(({ event }) => event === "step").map(({ learning_rate: rate }) => rate);
    assert.deepEqual([...new Set(rates)], [0.002, 0.0625]);
    assert.ok(bptt(where, "sample", "runs/now", "--length", "5").length > 0);
    const { emptyCharts, samples } = await page.evaluate(() => ({ emptyCharts: globalThis.emptyCharts, samples: globalThis.samples }));
    assert.ok(samples > 10 && emptyCharts.length === 0, `${emptyCharts} in ${samples} samples`);
    assert.deepEqual(problems, []);
  });

  test("a page that stays says how the training ended, leads to its report, and ends with Ctrl-C", async () => {
    const { child, ended, url } = await serving(where, "train", ...TRAIN, "--steps", "400", "--trace-every", "20", "--out", "runs/stays", "--serve", "--stay", "--port", "0");
    const list = await visit(browser, url);
    const { page, problems } = await visit(browser, `${url}live`);
    await page.waitForSelector("html[data-status=ended]", { state: "attached" });
    assert.match(await page.locator("#status").textContent(), /^Ended, finished: 400 of 400 updates/u);
    // A page opened after the end says the same.
    const later = await visit(browser, `${url}live`);
    await later.page.locator("#status", { hasText: "Ended, finished" }).waitFor();
    await later.page.locator("#links a", { hasText: "Report" }).click();
    await later.page.waitForURL(/\/report\/stays/u);
    await later.page.locator("#facts", { hasText: "vanilla RNN, tanh, 12 units" }).waitFor();
    for (const colorScheme of ["light", "dark"]) {
      const narrow = await visit(browser, `${url}live`, { colorScheme, width: 390 });
      for (const id of ["curves-chart", "heatmap-chart", "rainbow-chart"]) await chart(narrow.page, id);
      assert.deepEqual(await violations(narrow.page), []);
      assert.equal(await narrow.page.evaluate(() => document.documentElement.scrollWidth), 390);
      assert.deepEqual(narrow.problems, []);
    }
    // In the list the training has become a run.
    await list.page.locator("#run-list li[data-run=stays]").waitFor();
    assert.equal(await list.page.locator("#now").isVisible(), false);
    child.kill("SIGINT");
    assert.equal((await ended).code, 0);
    assert.deepEqual([...problems, ...later.problems, ...list.problems], []);
  });

  test("without a training the runs are there to compare", async () => {
    const { page, problems } = await at("live");
    // Curves are shown by choice only.
    assert.equal(await page.locator("#runs input:checked").count(), 0);
    assert.equal(await page.locator("#curves-words").textContent(), "No run is chosen.");
    await page.locator("#runs label", { hasText: "lstm" }).click();
    await page.waitForFunction(() => document.getElementById("curves-words").textContent.includes("lstm: 64 updates"));
    // A folder's name is text, whatever it looks like.
    assert.equal(await page.locator("#runs img").count(), 0);
    await chart(page, "curves-chart");
    await page.locator("#runs input").evaluateAll((boxes) => boxes.filter(({ checked }) => checked).forEach((box) => box.click()));
    await page.locator("#curves-words", { hasText: "No run is chosen." }).waitFor();
    assert.equal(await page.locator("#curves-chart").isVisible(), false);
    await page.locator("#runs label", { hasText: "lstm" }).click();
    await page.waitForFunction(() => document.getElementById("curves-chart").data?.length > 0 && document.getElementById("curves-chart").offsetHeight > 0);
    assert.ok(await page.locator("#runs bdi", { hasText: "<img" }).count() > 0);
    assert.deepEqual(problems, []);
  });
});

describe("the list of runs", () => {
  test("each has its facts and the verdict of diagnose, and leads to its report, its ledger and its curves", async () => {
    const { page, problems } = await at("");
    const lstm = page.locator("#run-list li", { has: page.locator("h3", { hasText: /^lstm$/u }) });
    assert.match(await lstm.locator(".facts-line").textContent(), /^LSTM, 12 units64 updates[\d.]+ bits per symbol held out\d{4}-\d\d-\d\d \d\d:\d\d$/u);
    // The newest run stands first, and a folder's name is text, whatever it looks like.
    const dates = await page.locator("#run-list time").evaluateAll((nodes) => nodes.map((node) => node.dateTime));
    assert.deepEqual(dates, [...dates].sort().reverse());
    assert.equal(await page.locator("#run-list img").count(), 0);
    const [sentence] = bptt(where, "diagnose", "runs/lstm").split("\n");
    await page.waitForFunction(() => [...document.querySelectorAll("#run-list .verdict")].every((node) => node.textContent !== "…"));
    // Formulas have other letters on the page.
    const letters = (text) => text.toLowerCase().replace(/[^a-z]/gu, "");
    assert.equal(letters(await lstm.locator(".verdict").textContent()), letters(sentence));

    await lstm.locator("input").focus();
    await page.keyboard.press("Space");
    assert.equal(await page.locator("#chosen").textContent(), "1 run chosen");
    const again = await visit(browser, page.url());
    assert.equal(await again.page.locator("#run-list input:checked").count(), 1);
    await page.locator("#curves-link").click();
    await page.waitForFunction(() => document.getElementById("curves-words").textContent.includes("lstm: 64 updates"));
    await again.page.locator("#run-list a", { hasText: "Explore" }).first().click();
    await again.page.waitForSelector("html[data-computed]", { state: "attached" });
    const report = await at("report/lstm");
    assert.match(await report.page.locator("#facts").textContent(), /LSTM, 12 units/u);
    await chart(report.page, "heatmap-chart");
    assert.match(await report.page.locator("#reproduce-list").textContent(), /^bptt train --generate cue_sentences/u);
    assert.deepEqual([...problems, ...again.problems, ...report.problems], []);
  });

  test("without runs it leads to the laboratory", async () => {
    const none = await serving(folder(), "serve", "--port", "0");
    const { page, problems } = await visit(browser, none.url);
    assert.equal(await page.locator("#list").isVisible(), false);
    await page.locator("#none a").click();
    await page.waitForURL(/\/lab$/u);
    none.child.kill();
    assert.deepEqual(problems, []);
  });
});

describe("lab", () => {
  test("sliders change the network, and the numbers are the server's", async () => {
    const { page, problems } = await at("lab");
    await page.waitForSelector("html[data-computed]", { state: "attached" });
    const kept = async () => Number(await page.locator("#reading").getAttribute("data-kept"));
    const before = await kept();
    await computed(page, () => slide(page, "sigma", 0.5));
    assert.ok((await kept()) < before);
    assert.match(await page.locator("#misreading").textContent(), /must vanish/u);
    await computed(page, () => slide(page, "sigma", 1.3));
    assert.ok((await kept()) < 1);
    assert.match(await page.locator("#misreading").textContent(), /is a misreading/u);
    await computed(page, () => page.locator("#init").selectOption("orthogonal"));
    await computed(page, () => page.locator("#kind").selectOption("rnn_identity"));
    assert.ok((await kept()) > 1.2);
    // At the largest lag it is at least 100 times as large.
    const [, times, power] = /^It explodes: .* is ([\d.]+) · 10([⁰-⁹¹²³]+) times/u.exec(await page.locator("#reading").textContent());
    assert.ok(Number(times) >= 1 && power.length > 0);
    await computed(page, () => slide(page, "length", 20));
    await computed(page, () => slide(page, "hidden", 10));
    await computed(page, () => page.locator("#kind").selectOption("min_gru"));
    assert.equal(await page.locator("#sigma").isVisible(), false);
    assert.equal(await page.locator("#misreading").textContent(), "");
    await computed(page, () => page.locator("#kind").selectOption("lstm"));
    assert.equal(await page.locator("#sigma").isVisible(), true);
    await page.locator("#loss").fill("9");
    await page.locator("#step").fill("4");
    const asked = { example: "text", text: await page.locator("#sentence").inputValue(), level: "char", cell: "lstm", hidden: 10, init: "orthogonal", sigma_max: 1.3, seed: 1, steps: 20 };
    const answer = await page.request.post(`${served.url}api/lab/formula`, { data: { lab: asked, k: 9, t: 4 } });
    near(await value(page, "#cell-words data.norm"), (await answer.json()).contributions.weight_hh.norm);
    assert.doesNotMatch(await page.locator("main").textContent(), /\[object|undefined|NaN/u);
    assert.deepEqual(problems, []);
  });

  test("four stories, each with a sentence that holds", async () => {
    const { page, problems } = await at("lab");
    await page.waitForSelector("html[data-computed]", { state: "attached" });
    const stories = page.locator("#stories button");
    assert.equal(await stories.count(), 4);
    // The lab opens with the second one, at a cell that is not zero.
    assert.equal(await stories.nth(1).getAttribute("aria-pressed"), "true");
    assert.ok((await value(page, "#cell-words data.norm")) > 0);
    assert.notEqual(await page.locator("#loss").inputValue(), await page.locator("#step").inputValue());
    const kept = async () => Number(await page.locator("#reading").getAttribute("data-kept"));
    const expected = [[/less than 1/u, /Its far terms do:/u], [/is above 1/u, /Its far terms do:/u], [/^All singular values/u, /Its far terms explode:/u], [/the LSTM keeps more/u, /shrink, but do not vanish/u]];
    const factors = [];
    for (const i of [0, 1, 2, 3]) {
      await computed(page, () => stories.nth(i).click());
      const words = await page.locator("#story").textContent();
      assert.match(words, expected[i][0]);
      assert.match(await page.locator("#lead-words").textContent(), expected[i][1]);
      assert.equal(await stories.nth(i).getAttribute("aria-pressed"), "true");
      factors.push(await kept());
      assert.ok(words.includes(String(Number(factors[i].toPrecision(3)))), words);
    }
    assert.ok(factors[0] < 1 && factors[1] < 1 && factors[2] > 1);
    assert.deepEqual(await page.locator("#compare h3").allTextContents(), ["LSTM", "vanilla RNN, tanh"]);
    const [, ofRnn] = /compared with × ([\d.]+)\.$/u.exec(await page.locator("#story").textContent());
    assert.ok(factors[3] > Number(ofRnn));
    await computed(page, () => slide(page, "sigma", 1));
    assert.equal(await page.locator("#story").textContent(), "");
    await page.locator("#network-chart [data-part]").first().click();
    assert.deepEqual(problems, []);
  });

  test("every cell has a network, a reading and a formula", async () => {
    const { page, problems } = await at("lab#length=12&hidden=5");
    await page.waitForSelector("html[data-computed]", { state: "attached" });
    const cells = await page.locator("#kind option").evaluateAll((options) => options.map((option) => option.value));
    assert.ok(cells.includes("lstm_layer_norm") && cells.length >= 15, cells.join());
    for (const cell of cells.slice(1)) {
      await computed(page, () => page.locator("#kind").selectOption(cell));
      for (const parameter of await page.locator("#parameter option").evaluateAll((options) => options.map((option) => option.value))) {
        await page.locator("#parameter").selectOption(parameter);
        await page.locator("#formula-place table").first().waitFor();
      }
      assert.doesNotMatch(await page.locator("main").textContent(), /\[object|undefined|NaN/u, cell);
    }
    assert.deepEqual(problems, []);
  });

  test("the article's example, and its formula with the numbers put in", async () => {
    const { page, problems } = await at("lab#example=article&init=article&sigma=0&k=2&t=0");
    const article = JSON.parse(bptt(where, "article", "--json"));
    const entry = (parameter) => article.entries.find((e) => e.parameter === parameter);
    await page.locator("#formula-place table").first().waitFor();
    near(await value(page, "#cell-words data.norm"), entry("weight_hh").norm[2][0]);
    assert.equal(await page.locator("#sigma-name").textContent(), `${Number(article.sigma_max.toPrecision(3))} (initial)`);
    assert.equal(await page.locator("#formula-place .product").count(), 2);
    assert.match(await page.locator("#lead-words").textContent(), /does not vanish: its norm is 1\.77\. Its far terms shrink/u);
    assert.equal(await page.locator("#lead svg").count(), 2);
    await page.locator("#parameter").selectOption("weight_ih");
    await page.locator("#formula-place", { hasText: "1.62, −0.612, −0.528" }).waitFor();
    const box = await (await chart(page, "heatmap-chart")).locator(".nsewdrag").first().boundingBox();
    await page.mouse.click(box.x + box.width / 2, box.y + (5 * box.height) / 6);
    await page.locator("#formula-place caption", { hasText: "From loss 2 back to step 1" }).waitFor();
    near(await value(page, "#cell-words data.norm"), entry("weight_ih").norm[2][1]);
    assert.deepEqual(problems, []);
  });

  test("a text is text, and the address keeps everything", async () => {
    const { page, problems } = await at("lab");
    const text = "<script>alert(1)</script> שלום & <b>x</b>";
    await computed(page, () => page.locator("#sentence").fill(text));
    await computed(page, () => page.locator("#level").selectOption("word"));
    await chart(page, "heatmap-chart");
    const again = await visit(browser, page.url());
    await again.page.waitForSelector("html[data-computed]", { state: "attached" });
    assert.equal(await again.page.locator("#sentence").inputValue(), text);
    assert.equal(await again.page.locator("#level").inputValue(), "word");
    assert.equal(await again.page.locator("#reading").textContent(), await page.locator("#reading").textContent());
    assert.equal(await page.locator("main b").count(), 0);
    await computed(page, () => page.locator("#sentence").fill("a text"));
    await page.locator("#sentence").fill("a");
    await page.locator("#problem", { hasText: "at least two symbols" }).waitFor();
    assert.deepEqual([...problems.filter((words) => !words.includes("422")), ...again.problems], []);
  });
});

describe("explore", () => {
  test("a click on a word colors the others by what they contributed", async () => {
    const { page, problems } = await at("explore#run=lstm");
    await page.waitForSelector("html[data-computed]", { state: "attached" });
    await page.locator("#sentence").fill(TEXT);
    await computed(page, () => page.locator("#take").click());
    const ledger = JSON.parse(bptt(where, "trace", "runs/lstm", "--text", TEXT, "--json"));
    const norm = ledger.entries.find((e) => e.parameter === "weight_hh").norm;
    await page.locator("#words button", { hasText: "market" }).first().click();
    const k = ledger.symbols.indexOf("market") - 1;
    assert.equal(await page.locator("#loss").inputValue(), String(k));
    const best = norm[k].map((n, t) => [n ?? -1, t]).sort((a, b) => b[0] - a[0]);
    const cells = await page.locator("#loss-table tbody tr td:first-child").allTextContents();
    assert.deepEqual(cells.map(Number), best.slice(0, 8).map(([, t]) => t));
    const again = await visit(browser, page.url());
    await again.page.locator("#loss-words", { hasText: "market" }).waitFor();
    assert.deepEqual([...problems, ...again.problems], []);
  });
});

describe("whoever reads it", () => {
  const READY = { "": "#run-list .verdict", "live#runs=lstm": "#curves-chart .main-svg", lab: "#formula-place table", explore: "#loss-table table" };
  for (const name of Object.keys(READY)) {
    for (const [colorScheme, width] of [["light", 1280], ["light", 390], ["dark", 390], ["dark", 360]]) {
      test(`no serious barrier in /${name}, ${colorScheme}, ${width} px`, async () => {
        const { page, problems } = await at(name, { colorScheme, width });
        await page.locator(READY[name]).first().waitFor();
        assert.deepEqual(await violations(page), []);
        const wide = await page.evaluate(() => document.documentElement.scrollWidth);
        assert.ok(wide <= width, `${wide} px`);
        assert.deepEqual(problems, []);
      });
    }
  }

  test("the first paint comes in time, and the lead picture before plotly", async () => {
    await at("lab");
    const { page } = await at("lab", { init: watchLead });
    const paint = () => page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime);
    await page.waitForFunction(() => performance.getEntriesByName("first-contentful-paint").length > 0);
    const time = await paint();
    const { withPlotly, painted } = await page.evaluate(() => globalThis.lead);
    console.log(`first paint after ${Math.round(time)} ms, lead picture after ${Math.round(painted)} ms`);
    assert.equal(withPlotly, false);
    assert.ok(time < 3000, `${time} ms`);
  });
});
