import type { Page } from "@playwright/test";

import { Camera } from "../support/camera";
import { expect, framesMore, presentedFrames, test } from "../support/fixtures";

const tileOf = (page: Page, camera = "door") =>
  page.locator(`[data-testid="camera-tile"][data-camera-id="${camera}"]`);

async function watch(page: Page) {
  await page.goto("/live");
  const tile = tileOf(page);
  await expect(tile).toHaveAttribute("data-state", "playing");
  return tile;
}

test.beforeEach(async ({ camera, damwall }) => {
  await camera.on();
  const state = async () => (await damwall.cameras()).map((row) => row.state);
  await expect.poll(state, { timeout: 20_000 }).toEqual(["live"]);
});

test("pictures of an RTSP camera play over WHEP", async ({ page }) => {
  const tile = await watch(page);
  await framesMore(tile, 60);
  const [width, height] = await tile.locator("video").evaluate((element) => {
    const video = element as HTMLVideoElement;
    return [video.videoWidth, video.videoHeight];
  });
  expect([width, height]).toEqual([640, 360]);
  await expect(tile.getByTestId("tile-message")).toBeHidden();
});

test("two viewers watch one camera", async ({ browser, damwall }) => {
  test.setTimeout(60_000);
  const contexts = await Promise.all([1, 2].map(() => browser.newContext({ baseURL: damwall.url })));
  try {
    const pages = await Promise.all(contexts.map((context) => context.newPage()));
    const tiles = await Promise.all(pages.map(watch));
    await Promise.all(tiles.map((tile) => framesMore(tile, 30)));
    // On a busy machine a page may have asked a second time; the first answer's session ends by itself.
    const viewers = async () => (await damwall.cameras())[0].viewers;
    await expect.poll(viewers, { timeout: 40_000 }).toBe(2);
  } finally {
    await Promise.all(contexts.map((context) => context.close()));
  }
});

test("a new viewer gets a picture at once, long before the next key frame", async ({ page, damwall }) => {
  // A key frame at its beginning, and the next one after forty seconds.
  const camera = await Camera.start(1_200);
  try {
    await damwall.addCamera("rare", camera.url);
    await damwall.live("rare");
    await page.goto("/live?camera=rare", { waitUntil: "commit" });
    const started = Date.now();
    await expect
      .poll(() => presentedFrames(tileOf(page, "rare")), { timeout: 15_000, intervals: [20] })
      .toBeGreaterThan(0);
    // Loading and hydrating the page are in this figure.
    const elapsedMs = Date.now() - started;
    test.info().annotations.push({ type: "first picture", description: `${elapsedMs} ms` });
  } finally {
    await damwall.removeCamera("rare");
    await camera.stop();
  }
});

test("a camera that comes back shows its picture without a reload", async ({ page, camera }) => {
  test.setTimeout(60_000);
  const tile = await watch(page);
  await framesMore(tile, 15);

  let navigations = 0;
  page.on("framenavigated", () => (navigations += 1));
  await page.evaluate(() => ((window as { sameDocument?: boolean }).sameDocument = true));

  await camera.off();
  await expect(tile).not.toHaveAttribute("data-state", "playing", { timeout: 15_000 });
  await expect(tile.getByTestId("tile-message")).not.toBeEmpty();

  await camera.on();
  await expect(tile).toHaveAttribute("data-state", "playing", { timeout: 30_000 });
  await framesMore(tile, 30);
  expect(navigations).toBe(0);
  expect(await page.evaluate(() => (window as { sameDocument?: boolean }).sameDocument)).toBe(true);
});

test("leaving the page ends the session", async ({ page, damwall }) => {
  test.setTimeout(90_000);
  const viewers = async () => (await damwall.cameras())[0].viewers;
  // A page that a test before this one closed without a word counts until its consent runs out.
  await expect.poll(viewers, { timeout: 40_000 }).toBe(0);
  await watch(page);
  await expect.poll(viewers).toBe(1);

  const ended = page.waitForRequest(
    (request) => request.method() === "DELETE" && new URL(request.url()).pathname.startsWith("/whep/door/"),
  );
  await page.getByRole("navigation").getByRole("link", { name: "Assets" }).click();
  await expect(page.getByTestId("asset-grid")).toBeVisible();
  await ended;
  await expect.poll(viewers).toBe(0);
});

test("coming back to the wall plays again", async ({ page }) => {
  await watch(page);
  const nav = page.getByRole("navigation");
  await nav.getByRole("link", { name: "Assets" }).click();
  await expect(page.getByTestId("asset-grid")).toBeVisible();
  await nav.getByRole("link", { name: "Live" }).click();
  const tile = tileOf(page);
  await expect(tile).toHaveAttribute("data-state", "playing");
  await framesMore(tile, 15);
  // A page that comes by client-side navigation must play silently too, or it may not play at all.
  expect(await tile.locator("video").evaluate((video) => (video as HTMLVideoElement).muted)).toBe(true);
});
