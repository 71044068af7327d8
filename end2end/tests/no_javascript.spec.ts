import { expect, test } from "../support/fixtures";
import { MEDIA_FILES } from "../support/media";

test.use({ javaScriptEnabled: false });

test("the list shows every asset, with pictures", async ({ page, request, damwall }) => {
  const pending = async () =>
    (await damwall.assets()).filter((asset) => asset.thumb.state === "pending").length;
  await expect.poll(pending, { timeout: 20_000 }).toBe(0);

  await page.goto("/assets");
  await expect(page.getByTestId("asset-card")).toHaveCount(MEDIA_FILES);
  const pictures = page.getByTestId("asset-card").locator("img");
  await expect(pictures).toHaveCount(MEDIA_FILES);
  for (const picture of await pictures.all()) {
    const response = await request.get((await picture.getAttribute("src"))!);
    expect(response.status()).toBe(200);
    expect(response.headers()["content-type"]).toMatch(/^image\//);
  }
});

test("pages are turned by links", async ({ page }) => {
  await page.goto("/assets?limit=4");
  await page.getByTestId("next-page").click();
  await page.getByTestId("next-page").click();
  await expect(page.getByTestId("asset-card")).toHaveCount(MEDIA_FILES - 8);
  await expect(page.getByTestId("next-page")).toHaveCount(0);
});

test("a film's page has a player with its source", async ({ page, request }) => {
  await page.goto("/assets");
  await page.getByTestId("asset-card").filter({ hasText: "film.mp4" }).click();
  await expect(page.getByTestId("asset-title")).toHaveText("film.mp4");
  const source = await page.getByTestId("asset-player").getAttribute("src");
  const response = await request.get(source!, { headers: { range: "bytes=0-99" } });
  expect(response.status()).toBe(206);
  expect(response.headers()["content-type"]).toBe("video/mp4");
});

test("the wall names its cameras", async ({ page }) => {
  await page.goto("/live");
  const tile = page.getByTestId("live-grid").getByTestId("camera-tile");
  await expect(tile).toHaveCount(1);
  await expect(tile).toContainText("Door");
});
