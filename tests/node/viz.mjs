// Opens Kedro-Viz in Chromium; prints what it shows, what it shows of datasets, and which other machines it asked:
//   node viz.mjs CHROMIUM ADDRESS '[["pipeline", "dataset"], ...]' [SCREENSHOT.png]
import { chromium } from "playwright-core";

const [executablePath, address, datasets, screenshot] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const page = await browser.newPage();
const foreign = [];
page.on("request", (request) => {
  if (/^https?:/.test(request.url()) && !request.url().startsWith(address)) foreign.push(request.url());
});
await page.goto(address, { waitUntil: "load" });
await page.waitForSelector(".pipeline-node, .pipeline-flowchart__node, #pipeline-graph", { timeout: 60000 });
const text = await page.evaluate(() => document.body.innerText);
const shown = {};
for (const [pipeline, dataset] of JSON.parse(datasets)) {
  await page.goto(`${address}?pid=${pipeline}&sn=${dataset}`, { waitUntil: "load" });
  await page.waitForSelector(".pipeline-metadata", { timeout: 60000 });
  await page.waitForSelector(".pipeline-metadata img, .pipeline-metadata table", { timeout: 60000 });
  shown[dataset] = await page.evaluate(() => ({
    pictures: [...document.querySelectorAll(".pipeline-metadata img")].map((one) => [one.naturalWidth, one.naturalHeight]),
    text: document.querySelector(".pipeline-metadata").innerText,
  }));
  if (screenshot) await page.screenshot({ path: screenshot.replace(".png", `_${dataset}.png`) });
}
process.stdout.write(JSON.stringify({ foreign, text, shown }));
await browser.close();
