import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";

import { type AssetRow, type Damwall } from "../support/damwall";
import { expect, test } from "../support/fixtures";
import { FILM_SECS, MEDIA_FILES } from "../support/media";

const sha256 = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");

async function named(damwall: Damwall, name: string): Promise<AssetRow> {
  const row = (await damwall.assets()).find((asset) => asset.name === name);
  if (!row) throw new Error(`${name} was not imported`);
  return row;
}

test.beforeEach(async ({ damwall }) => {
  const pending = async () =>
    (await damwall.assets()).filter((asset) => asset.thumb.state === "pending").length;
  await expect.poll(pending, { timeout: 20_000 }).toBe(0);
});

test("every picture and film has a thumbnail that loads", async ({ page, damwall }) => {
  const failed = (await damwall.assets()).filter((asset) => asset.thumb.state !== "ready");
  expect(failed).toEqual([]);

  await page.goto("/assets");
  const pictures = page.getByTestId("asset-card").locator("img");
  await expect(pictures).toHaveCount(MEDIA_FILES);
  for (const picture of await pictures.all()) {
    await picture.scrollIntoViewIfNeeded();
    await expect
      .poll(() => picture.evaluate((image) => (image as HTMLImageElement).naturalWidth))
      .toBeGreaterThan(0);
  }
});

test("paging visits every asset once", async ({ page, damwall }) => {
  await page.goto("/assets?limit=4");
  const seen: string[] = [];
  for (let pages = 1; ; pages += 1) {
    expect(pages).toBeLessThanOrEqual(3);
    const cards = page.getByTestId("asset-card");
    await expect(cards.first()).toBeVisible();
    seen.push(...(await cards.evaluateAll((all) => all.map((card) => card.dataset.assetId!))));
    const next = page.getByTestId("next-page");
    if ((await next.count()) === 0) break;
    const first = await cards.first().getAttribute("data-asset-id");
    await next.click();
    await expect(cards.first()).not.toHaveAttribute("data-asset-id", first!);
  }
  expect(seen).toHaveLength(MEDIA_FILES);
  expect(new Set(seen)).toEqual(new Set((await damwall.assets()).map((asset) => asset.id)));
});

test("the API pages by cursor", async ({ request, damwall }) => {
  const seen: string[] = [];
  let after: string | null = null;
  do {
    const params: Record<string, string> = after ? { limit: "4", after } : { limit: "4" };
    const page = await (await request.get("/api/assets", { params })).json();
    seen.push(...page.items.map((asset: AssetRow) => asset.id));
    after = page.next_cursor ?? null;
  } while (after && seen.length < 100);
  expect(seen).toEqual((await damwall.assets()).map((asset) => asset.id));
});

test("a card leads to the page of its picture", async ({ page }) => {
  await page.goto("/assets");
  await page.getByTestId("asset-card").filter({ hasText: "card.jpg" }).click();
  await expect(page.getByTestId("asset-title")).toHaveText("card.jpg");
  const picture = page.getByTestId("asset-image");
  await expect
    .poll(() => picture.evaluate((image) => (image as HTMLImageElement).naturalWidth))
    .toBe(1280);
  await page.goBack();
  await expect(page.getByTestId("asset-card")).toHaveCount(MEDIA_FILES);
});

test("a film seeks by ranges", async ({ page, damwall }) => {
  const film = await named(damwall, "film.mp4");
  // Chromium asks for the file from its start first; only a seek asks from further on.
  const seekResponse = page.waitForResponse((response) => {
    const from = /^bytes (\d+)-/.exec(response.headers()["content-range"] ?? "");
    return response.status() === 206 && Number(from?.[1] ?? 0) > 1_000_000;
  });
  await page.goto(`/assets/${film.id}`);
  const player = page.getByTestId("asset-player");
  await expect
    .poll(() => player.evaluate((video) => (video as HTMLVideoElement).readyState))
    .toBeGreaterThanOrEqual(1);

  const target = FILM_SECS - 5;
  const reached = await player.evaluate(async (element, seconds) => {
    const video = element as HTMLVideoElement;
    const seeked = new Promise((resolve) => video.addEventListener("seeked", resolve, { once: true }));
    video.currentTime = seconds;
    await seeked;
    return [video.currentTime, video.readyState];
  }, target);
  expect(reached[0]).toBeCloseTo(target, 0);
  expect(reached[1]).toBeGreaterThanOrEqual(2);
  await seekResponse;
});

test("the download button gives the very bytes", async ({ page, damwall }) => {
  const asset = await named(damwall, "wide & odd name.jpg");
  await page.goto(`/assets/${asset.id}`);
  const downloading = page.waitForEvent("download");
  await page.getByTestId("download").click();
  const download = await downloading;
  expect(download.suggestedFilename()).toBe("wide & odd name.jpg");
  expect(`sha256:${sha256(readFileSync(await download.path()))}`).toBe(asset.id);
});

test("the download URL of the API needs nothing but itself", async ({ request, damwall }) => {
  const asset = await named(damwall, "bars.png");
  const { url } = await (await request.get(`/api/assets/${asset.id}/download`)).json();
  const signed = new URL(url, damwall.url).href;
  const response = await fetch(signed);
  expect(response.status).toBe(200);
  expect(response.headers.get("content-disposition")).toMatch(/^attachment/);
  expect(response.headers.get("x-content-type-options")).toBe("nosniff");
  expect(`sha256:${sha256(Buffer.from(await response.arrayBuffer()))}`).toBe(asset.id);

  const part = await fetch(signed, { headers: { range: "bytes=0-9" } });
  expect(part.status).toBe(206);
  expect((await part.arrayBuffer()).byteLength).toBe(10);
});

test("an asset that is not there answers 404", async ({ request }) => {
  const missing = "0".repeat(64);
  expect((await request.get(`/api/assets/${missing}`)).status()).toBe(404);
  expect((await request.get(`/assets/${missing}`)).status()).toBe(404);
});
