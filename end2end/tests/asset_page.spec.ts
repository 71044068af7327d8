// One asset: what its file says of itself, what is made from it, and its end.

import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { withExif } from "../support/exif";
import { expect, test } from "../support/fixtures";
import { drawn } from "../support/media";

// A library of these tests alone, in which nothing else is under way.
test.use({ hasMedia: false });

const EVENTS = /\/api\/jobs\/events$/;
const still = (color: string) => drawn("a.jpg", `color=c=${color}:s=320x240`, "-frames:v", "1");
/** A film that browsers do not play, so that a proxy is made of it. */
const film = (secs: number) =>
  drawn("a.mp4", `testsrc2=s=640x360:r=25:d=${secs}`, "-c:v", "mpeg4", "-q:v", "8");

for (const javaScriptEnabled of [true, false]) {
  test.describe(javaScriptEnabled ? "with JavaScript" : "without JavaScript", () => {
    test.use({ javaScriptEnabled });

    test("a picture's notes are shown, but not where it was taken", async ({ page, damwall }) => {
      const id = await damwall.upload("noted.jpg", withExif(await still("teal")));
      await damwall.jobsOver(id);
      const response = await page.goto(`/assets/${id}`);
      const notes = page.getByTestId("metadata");
      await expect(notes.locator("dt")).toHaveText(["Taken", "Taken with", "Lens", "Exposure"]);
      await expect(notes.locator("dd")).toHaveText([
        "2024-05-17 16:30 UTC",
        "RICOH GR III",
        "GR LENS 18.3mm F2.8",
        "1/250 s, f/2.8, ISO 400, 18.3 mm",
      ]);
      // Nor does what the page was made from say it.
      const html = await response!.text();
      expect(html).not.toContain("52.5");
      expect(html).not.toContain("latitude");
    });

    test("one asset is deleted for good, once that is confirmed", async ({ page, request, damwall }) => {
      const name = javaScriptEnabled ? "doomed.jpg" : "plainly doomed.jpg";
      const id = await damwall.upload(name, await still(javaScriptEnabled ? "red" : "brown"));
      await damwall.jobsOver(id);
      await page.goto(`/assets/${id}`);
      await expect(page.getByTestId("to-confirm")).toHaveCount(0);
      await page.getByTestId("asset-trash").click();
      await expect(page.getByTestId("in-trash")).toBeVisible();
      await expect(page.getByTestId("confirm")).toBeHidden();
      await page.getByTestId("to-confirm").locator("summary").click();
      await page.getByTestId("confirm").click();
      await expect(page.getByTestId("notice")).toContainText("1 asset");
      await expect(page.getByTestId("list-title")).toHaveText("Trash");
      expect((await request.get(`/assets/${id}`)).status()).toBe(404);
      expect((await request.get(`/api/assets/${id}/original`)).status()).toBe(404);
    });

    test("the trash is emptied, once that is confirmed", async ({ page, request, damwall }) => {
      const mark = javaScriptEnabled ? "swept" : "plainly swept";
      const colors = javaScriptEnabled ? ["pink", "gold"] : ["navy", "olive"];
      const ids: string[] = [];
      for (const color of colors) {
        ids.push(await damwall.upload(`${mark} ${color}.jpg`, await still(color)));
      }
      for (const id of ids) await damwall.jobsOver(id);
      await page.goto(`/assets?q=${encodeURIComponent(mark)}&sort=name`);
      const cards = page.getByTestId("asset-card");
      await expect(cards).not.toHaveCount(0);
      for (const id of ids) await page.locator(`[data-testid="tick"][value="${id}"]`).check();
      await page.getByTestId("bulk-trash").click();
      await expect(page.getByTestId("notice")).toContainText("Moved 2 assets to the trash.");
      await page.goto("/assets/trash");
      await expect(cards).toHaveCount(2);
      await expect(page.getByTestId("confirm")).toBeHidden();
      await page.getByTestId("to-confirm").locator("summary").click();
      await page.getByTestId("confirm").click();
      await expect(page.getByTestId("notice")).toContainText("2 assets");
      await expect(page.getByTestId("no-match")).toContainText("The trash is empty");
      for (const id of ids) expect((await request.get(`/assets/${id}`)).status()).toBe(404);
    });

    test("a broken file is listed with its reason, and tried again", async ({ page, damwall }) => {
      const name = javaScriptEnabled ? "broken.jpg" : "plainly broken.jpg";
      const whole = await still(javaScriptEnabled ? "lime" : "cyan");
      // The head of a picture, and then nothing of it.
      const bytes = Buffer.concat([whole.subarray(0, 60), Buffer.from(name)]);
      const id = await damwall.upload(name, bytes);
      expect(await damwall.jobsOver(id)).toEqual({ derive: "failed" });
      const card = page.getByTestId("asset-card").filter({ hasText: name });
      await page.goto("/assets?failed=1");
      await expect(card).toContainText(/Measures and thumbnails: \w+/);

      // From its own page: the reason, and the same end again.
      await card.click();
      await expect(page.getByTestId("job-reason")).toHaveText(/\w+/);
      await page.getByTestId("retry-job").click();
      await expect(page.getByTestId("notice")).toContainText("1 job");
      expect(await damwall.jobsOver(id)).toEqual({ derive: "failed" });

      // Now its bytes can be read.
      const hex = createHash("sha256").update(bytes).digest("hex");
      const blob = join(
        ...[damwall.dataFolder, "blobs", "blobs", "sha256", hex.slice(0, 2), hex.slice(2, 4), hex],
      );
      expect(readFileSync(blob).equals(bytes)).toBe(true);
      writeFileSync(blob, whole);
      await page.goto("/assets?failed=1");
      await expect(card).toHaveCount(1);
      await page.getByTestId("retry-all").click();
      await expect(page.getByTestId("notice")).toContainText("1 job");
      expect(await damwall.jobsOver(id)).toEqual({ derive: "done" });
      // The page sees that by itself; without JavaScript when it is loaded again.
      if (!javaScriptEnabled) await page.reload();
      await expect(page.getByTestId("no-match")).toContainText("Nothing failed");
      await expect(page.getByTestId("under-way")).toHaveCount(0);
      await page.goto(`/assets?q=${encodeURIComponent(name)}`);
      await expect(card.locator("img")).toHaveCount(1);
    });
  });
}

test("a sound's page draws its waveform, and says how it was sampled", async ({ page, damwall }) => {
  const graph = "sine=frequency=440:sample_rate=44100:duration=3";
  const id = await damwall.upload("tone.wav", await drawn("a.wav", graph));
  expect(await damwall.jobsOver(id)).toMatchObject({ derive: "done", waveform: "done" });
  await page.goto(`/assets/${id}`);
  const waveform = page.getByTestId("waveform");
  await expect(waveform).toBeVisible();
  await expect(waveform.locator("path").last()).toHaveAttribute("d", /^M.{100,}/s);
  await expect(page.getByTestId("metadata")).toContainText("44.1 kHz");
});

test("a card shows its picture's colour, of its shape, until it has loaded", async ({ page, damwall }) => {
  const id = await damwall.upload("red.jpg", await drawn("a.jpg", "color=c=red:s=400x200", "-frames:v", "1"));
  await damwall.jobsOver(id);
  let load = () => {};
  const held = new Promise<void>((resolve) => (load = resolve));
  await page.route("**/assets/thumbs/*", async (route) => {
    await held;
    await route.continue();
  });
  await page.goto("/assets?q=red.jpg", { waitUntil: "domcontentloaded" });
  const card = page.locator(`[data-asset-id="${id}"]`);
  const tint = card.locator(".tint");
  // Not quite red: JPEG and the hash both round.
  await expect(tint).toHaveAttribute("fill", /^#[ef][0-9a-f][01][0-9a-f][01][0-9a-f]$/);
  await expect(tint).toHaveAttribute("viewBox", "0 0 320 160");
  const box = () => card.boundingBox();
  const before = await box();
  load();
  const picture = card.locator("img");
  await expect
    .poll(() => picture.evaluate((image) => (image as HTMLImageElement).naturalWidth))
    .toBeGreaterThan(0);
  expect(await box()).toEqual(before);
});

test.describe("jobs under way", () => {
  test.beforeEach(() => test.setTimeout(240_000));

  test("are followed by a stream that ends with them", async ({ page, damwall }) => {
    const id = await damwall.upload("followed.mp4", await film(45));
    const opened = page.waitForRequest(EVENTS);
    const closed = page.waitForEvent("requestfailed", (request) => EVENTS.test(request.url()));
    await page.goto(`/assets/${id}`);
    const stream = await opened;
    const shown = page.getByTestId("job").filter({ hasText: /\d %/ });
    await expect(shown.first()).toBeVisible({ timeout: 90_000 });
    await expect(page.getByTestId("job")).toHaveCount(0, { timeout: 90_000 });
    await expect(page.getByTestId("rendition").filter({ hasText: "Film" })).not.toHaveCount(0);
    expect(await closed).toBe(stream);
  });

  test("are followed no longer once the page is left", async ({ page, damwall }) => {
    const id = await damwall.upload("left.mp4", await film(46));
    const opened = page.waitForRequest(EVENTS);
    const closed = page.waitForEvent("requestfailed", (request) => EVENTS.test(request.url()));
    await page.goto(`/assets/${id}`);
    const stream = await opened;
    await page.getByRole("link", { name: "← Assets" }).click();
    await expect(page.getByTestId("list-title")).toBeVisible();
    expect(await closed).toBe(stream);
    await damwall.jobsOver(id);
  });

  test.describe("when there is no stream to be had", () => {
    test.use({ expectedErrors: [/503/] });

    test("are looked at every few seconds", async ({ page, damwall }) => {
      await page.route(EVENTS, (route) => route.fulfill({ status: 503 }));
      const id = await damwall.upload("polled.mp4", await film(20));
      await page.goto(`/assets/${id}`);
      await expect(page.getByTestId("rendition").filter({ hasText: "Film" })).not.toHaveCount(0, {
        timeout: 90_000,
      });
      await expect(page.getByTestId("job")).toHaveCount(0, { timeout: 90_000 });
    });
  });
});
