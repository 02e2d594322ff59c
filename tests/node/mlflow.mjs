// Compares two runs in MLflow's own pages, in Chromium, and takes a picture of what differs:
//   node mlflow.mjs CHROMIUM ADDRESS EXPERIMENT RUN RUN PICTURE.png
// Prints the text of the page and which other machines it asked.
import { chromium } from "playwright-core";

const [executablePath, address, experiment, first, second, picture] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const page = await browser.newPage({ viewport: { width: 1500, height: 1500 }, colorScheme: "light" });
const foreign = [];
await page.route("**/*", (route) => {
  const url = route.request().url();
  if (/^https?:/.test(url) && !url.startsWith(address)) {
    foreign.push(url);
    return route.abort();
  }
  return route.continue();
});
const runs = encodeURIComponent(JSON.stringify([first, second]));
await page.goto(`${address}/#/compare-runs?runs=${runs}&experiments=${encodeURIComponent(JSON.stringify([experiment]))}`);
await page.waitForSelector("text=Show diff only", { timeout: 90000 });
// Only what differs.
await page.getByRole("switch").evaluateAll((all) => all.forEach((one) => one.click()));
for (const part of ["Visualizations", "Artifacts"]) await page.getByText(part, { exact: true }).first().click();
await page.waitForTimeout(2000);
const text = await page.evaluate(() => document.body.innerText);
if (picture) {
  // Without the menu on the left and the assistant on the right.
  const { x, y } = await page.getByText(/^Comparing 2 Runs/).first().boundingBox();
  const end = await page.getByText("Tags", { exact: true }).first().boundingBox();
  const width = 1500 - x - 385;
  await page.screenshot({ path: picture, clip: { x: x - 8, y: y - 10, width, height: Math.min(end.y + 330, 1500) - y } });
}
process.stdout.write(JSON.stringify({ text, foreign }));
await browser.close();
