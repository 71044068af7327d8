// Takes pictures of every page: node shots.mjs <server URL> <folder>

import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";

import { chromium } from "@playwright/test";

const WIDTHS = { 390: 844, 1280: 800, 3840: 2160 };

const [url, folder] = process.argv.slice(2);
if (!url || !folder) {
  console.error("usage: node shots.mjs <server URL> <folder>");
  process.exit(2);
}
rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });

const { items } = await (await fetch(`${url}/api/assets?limit=100`)).json();
const first = (kind) => items.find((asset) => asset.kind === kind)?.id;
const pages = { assets: "/assets", live: "/live", login: "/login" };
if (first("image")) pages.image = `/assets/${first("image")}`;
const cameras = (await (await fetch(`${url}/api/cameras`)).json()).items;
const live = cameras.find((camera) => camera.state === "live");
pages.cameras = "/live/cameras";
pages["camera-new"] = "/live/cameras/new";
if (live) pages["live-solo"] = `/live?camera=${live.id}`;
if (cameras.length > 0) {
  pages["camera-edit"] = `/live/cameras/${(cameras.find((one) => one.state !== "live") ?? cameras[0]).id}`;
  pages.publish = `/live/publish/${cameras[0].id}`;
}
if (first("video")) pages.video = `/assets/${first("video")}`;
if (first("audio")) pages.audio = `/assets/${first("audio")}`;
Object.assign(pages, {
  filters: "/assets?kind=image&kind=video&sort=name",
  ticked: "/assets?notice=changed.3",
  "no-match": "/assets?q=nothing+of+this+name",
  failed: "/assets?failed=1",
  trash: "/assets/trash",
  collections: "/assets/collections",
});

/** What a page must show before its picture is worth taking. */
async function settle(page, name) {
  await page.evaluate(() => document.fonts.ready);
  if (name === "live" || name === "live-solo") {
    const playing = page.locator('[data-testid="camera-tile"][data-state="playing"]').first();
    await playing.waitFor({ timeout: 15_000 }).catch(() => console.log("  no camera plays"));
    if (name === "live-solo") {
      await page.keyboard.press("h");
      await page.waitForTimeout(3_000);
    }
  }
  if (name === "publish") {
    await page.getByTestId("open-camera").click();
    await page.waitForTimeout(1_000);
  }
  if (name === "filters") await page.locator(".filters > summary").click();
  if (name === "ticked") {
    await page.getByTestId("tick").nth(0).click();
    await page.getByTestId("tick").nth(1).click({ modifiers: ["Shift"] });
  }
  if (name === "image") await page.locator(".asset-section > summary").first().click();
  if (name === "video") {
    const ready = () => (document.querySelector("video")?.readyState ?? 0) >= 2;
    await page.waitForFunction(ready, null, { timeout: 10_000 }).catch(() => console.log("  no film"));
  }
  const loaded = () =>
    [...document.images].every((image) => image.complete || image.loading === "lazy");
  await page.waitForFunction(loaded, null, { timeout: 10_000 });
}

const browser = await chromium.launch({
  executablePath: process.env.DAMWALL_TEST_CHROMIUM ?? "/usr/bin/chromium",
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
  ],
});
try {
  for (const [width, height] of Object.entries(WIDTHS)) {
    for (const colorScheme of ["light", "dark"]) {
      const viewport = { width: Number(width), height };
      const context = await browser.newContext({ baseURL: url, viewport, colorScheme });
      const page = await context.newPage();
      page.on("pageerror", (error) => console.log(`  ${error}`));
      for (const [name, path] of Object.entries(pages)) {
        await page.goto(path);
        await settle(page, name);
        const file = join(folder, `${name}-${width}-${colorScheme}.png`);
        await page.screenshot({ path: file });
        console.log(file);
      }
      await context.close();
    }
  }
} finally {
  await browser.close();
}
