// The wall as a whole: one camera large, tiles that nobody sees, layers, figures, keys.

import { expect, framesMore, test } from "../support/fixtures";
import {
  bytesReceived,
  frameTimes,
  keepPeers,
  peersMade,
  pictureSize,
  sessionRequests,
  tileOf,
} from "../support/wall";

test.use({
  serverConfig:
    '[[cameras]]\nid = "yard"\nname = "Yard"\nurl = "test:1280x720"\nsub_url = "test:640x360"\n',
  // Two tiles side by side, each of which the small picture fits.
  viewport: { width: 1100, height: 700 },
});

test.beforeEach(async ({ camera, damwall, page }) => {
  await camera.on();
  await damwall.live("door", "yard");
  await keepPeers(page);
});

test("one camera is made large in the session it has", async ({ page }) => {
  const requests = sessionRequests(page);
  await page.goto("/live");
  const [yard, door] = [tileOf(page, "yard"), tileOf(page, "door")];
  await expect(yard).toHaveAttribute("data-state", "playing");
  await expect(door).toHaveAttribute("data-state", "playing");
  const small = (await yard.boundingBox())!;

  await yard.locator("video").click();
  await expect(page).toHaveURL(/\/live\?camera=yard$/);
  await expect(door).toBeHidden();
  expect((await yard.boundingBox())!.width).toBeGreaterThan(small.width * 1.5);
  await framesMore(yard, 15);
  await expect(yard).toBeFocused();

  await page.keyboard.press("Escape");
  await expect(page).toHaveURL(/\/live$/);
  await expect(door).toBeVisible();
  await framesMore(door, 15);
  await framesMore(yard, 15);

  expect(await peersMade(page)).toBe(2);
  expect(requests.filter((request) => /^(POST|DELETE) \w+$/.test(request))).toHaveLength(2);
});

test("one camera has an address of its own, and the others are not played", async ({ page }) => {
  const requests = sessionRequests(page);
  await page.goto("/live?camera=yard");
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("Yard");
  await framesMore(tileOf(page, "yard"), 15);
  await expect(tileOf(page, "door")).toBeHidden();
  expect(requests.filter((request) => request.includes("door"))).toEqual([]);

  await page.getByTestId("solo-back").click();
  await expect(page).toHaveURL(/\/live$/);
  await framesMore(tileOf(page, "door"), 15);
});

test("tiles get the layer that fits them, and the best one when they are large", async ({ page }) => {
  const requests = sessionRequests(page);
  await page.goto("/live");
  const yard = tileOf(page, "yard");
  await expect(yard).toHaveAttribute("data-state", "playing");
  await expect.poll(() => pictureSize(yard)).toBe("640x360");
  expect(requests.some((request) => /^POST yard layer .*"maxWidth":\d+/.test(request))).toBe(true);

  const asked = Date.now();
  await yard.locator("video").click();
  await expect.poll(() => pictureSize(yard), { timeout: 10_000, intervals: [20] }).toBe("1280x720");
  const elapsedMs = Date.now() - asked;
  test.info().annotations.push({ type: "grid to solo", description: `${elapsedMs} ms` });
  expect(requests).toContain('POST yard layer {"mediaId":"0"}');

  await page.keyboard.press("Escape");
  await expect.poll(() => pictureSize(yard)).toBe("640x360");
});

test("the picture of a test camera tells when it was taken, on either layer", async ({ page }) => {
  test.setTimeout(90_000);
  await page.goto("/live");
  const yard = tileOf(page, "yard");
  await framesMore(yard, 10);
  const tellsNow = async (size: string) => {
    await expect.poll(() => pictureSize(yard)).toBe(size);
    const frames = await frameTimes(yard, 30);
    const taken = frames.map(({ taken }) => taken!);
    expect(taken).not.toContain(null);
    const ages = frames.map(({ shown }, at) => shown - taken[at]);
    test.info().annotations.push({ type: `age at ${size}`, description: `${Math.max(...ages)} ms` });
    expect(Math.min(...ages)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...ages)).toBeLessThan(2_000);
    // A frame may be read twice, but none after a later one.
    expect(taken).toEqual([...taken].sort((a, b) => a - b));
    expect(taken[29] - taken[0]).toBeGreaterThan(500);
  };
  await tellsNow("640x360");
  await yard.locator("video").click();
  await tellsNow("1280x720");
});

test("a tile that nobody sees gets nothing, and plays at once when it is seen", async ({ page }) => {
  const requests = sessionRequests(page);
  await page.goto("/live");
  const [yard, door] = [tileOf(page, "yard"), tileOf(page, "door")];
  await framesMore(door, 10);
  await framesMore(yard, 10);

  await yard.locator("video").click();
  await expect.poll(() => requests).toContain('POST door pause {"paused":true}');
  await page.waitForTimeout(1_000);
  const before = await bytesReceived(door);
  expect(before).toBeGreaterThan(0);
  await page.waitForTimeout(5_000);
  expect(await bytesReceived(door)).toBe(before);

  await page.keyboard.press("Escape");
  await expect.poll(() => requests).toContain('POST door pause {"paused":false}');
  await framesMore(door, 1, 10_000);
  await framesMore(door, 30);
  expect(await peersMade(page)).toBe(2);
});

test("a tile outside the window is paused too", async ({ page }) => {
  await page.setViewportSize({ width: 390, height: 420 });
  const requests = sessionRequests(page);
  await page.goto("/live");
  const tiles = page.getByTestId("camera-tile");
  await framesMore(tiles.first(), 10);
  const first = await tiles.first().getAttribute("data-camera-id");
  await page.getByTestId("live-grid").evaluate((grid) => (grid.style.paddingBottom = "2000px"));
  await page.evaluate(() => window.scrollTo(0, 1500));
  await expect.poll(() => requests).toContain(`POST ${first} pause {"paused":true}`);
  await page.evaluate(() => window.scrollTo(0, 0));
  await expect.poll(() => requests).toContain(`POST ${first} pause {"paused":false}`);
  await framesMore(tiles.first(), 10);
});

test("the figures name the layer and how the latency was found", async ({ page }) => {
  const stats: string[] = [];
  page.on("request", (request) => {
    if (request.url().endsWith("/stats")) stats.push(request.url());
  });
  await page.goto("/live");
  const yard = tileOf(page, "yard");
  await framesMore(yard, 15);
  expect(stats, "nobody reads them yet").toEqual([]);

  await yard.getByTestId("hud-toggle").click();
  const hud = yard.getByTestId("hud");
  await expect(hud).toContainText(/layer sub/);
  await expect(hud).toContainText(/\d+ kbit\/s/);
  await expect(hud).toContainText(/server→screen \d+ ms ±\d+ \(RTP time\)/);
  const latencyMs = async () =>
    Number((await hud.textContent())!.match(/server→screen (\d+) ms/)?.[1] ?? "Infinity");
  // The first pictures may have waited for the page.
  await expect.poll(latencyMs).toBeLessThan(1_000);
  test.info().annotations.push({ type: "server to screen", description: `${await latencyMs()} ms` });
});

test("keys lead from tile to tile, make one large, and work its buttons", async ({ page }) => {
  await page.goto("/live");
  const tiles = page.getByTestId("camera-tile");
  await framesMore(tiles.first(), 5);

  await page.keyboard.press("ArrowRight");
  await expect(tiles.nth(0)).toBeFocused();
  await page.keyboard.press("ArrowRight");
  await expect(tiles.nth(1)).toBeFocused();
  await page.keyboard.press("ArrowLeft");
  await expect(tiles.nth(0)).toBeFocused();

  await page.keyboard.press("h");
  await expect(tiles.nth(0).getByTestId("hud")).toBeVisible();
  await page.keyboard.press("h");
  await expect(tiles.nth(0).getByTestId("hud")).toBeHidden();

  await page.keyboard.press("Enter");
  await expect(page).toHaveURL(/\?camera=/);
  await expect(tiles.nth(1)).toBeHidden();
  await page.keyboard.press("ArrowRight");
  await expect(tiles.nth(0)).toBeHidden();
  await expect(tiles.nth(1)).toBeFocused();
  await page.keyboard.press("Escape");
  await expect(page).toHaveURL(/\/live$/);
  await expect(tiles).toHaveCount(2);
  await expect(tiles.nth(0)).toBeVisible();
});

test("a camera without sound has no button for it", async ({ page }) => {
  await page.goto("/live");
  await framesMore(tileOf(page, "door"), 5);
  await expect(tileOf(page, "door").getByTestId("sound-toggle")).toBeHidden();
});
