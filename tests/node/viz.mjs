// Opens a page in Chromium and prints what it shows and which other machines it asked:
//   node viz.mjs CHROMIUM ADDRESS
import { chromium } from "playwright-core";

const [executablePath, address] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const page = await browser.newPage();
const foreign = [];
page.on("request", (request) => {
  if (/^https?:/.test(request.url()) && !request.url().startsWith(address)) foreign.push(request.url());
});
await page.goto(address, { waitUntil: "load" });
await page.waitForSelector(".pipeline-node, .pipeline-flowchart__node, #pipeline-graph", { timeout: 60000 });
const text = await page.evaluate(() => document.body.innerText);
process.stdout.write(JSON.stringify({ foreign, text }));
await browser.close();
