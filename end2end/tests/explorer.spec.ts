import { createHash } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";

import { type Page } from "@playwright/test";

import { type AssetRow, type Damwall } from "../support/damwall";
import { expect, test } from "../support/fixtures";
import { FILM_SECS, MEDIA_FILES, PORTRAIT_DAY } from "../support/media";

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

/** By name, as they lie in the folder that was imported. */
const IN_ORDER = [
  "bars.png",
  "holidays/blue.jpg",
  "card.jpg",
  "film.mp4",
  "holidays/green.jpg",
  "people/portrait.jpg",
  "holidays/red.png",
  "small.png",
  "wide & odd name.jpg",
];

const baseName = (path: string) => path.split("/").pop()!;
const bytesOf = (path: string) => statSync(join(process.env.DAMWALL_TEST_MEDIA!, path)).size;

/** What a list shows, in its order. */
const listed = (page: Page) => page.getByTestId("asset-card").locator(".card-name");

/** Fills fields of the filters in, and has the list shown. */
async function filter(page: Page, fields: Record<string, string>) {
  await page.getByTestId("filters").locator("summary").click();
  for (const [name, value] of Object.entries(fields)) {
    const field = page.getByTestId(`filter-${name}`);
    switch (await field.evaluate((element) => element.tagName)) {
      case "SELECT":
        await field.selectOption(value);
        break;
      case "INPUT":
        await field.fill(value);
        break;
      default:
        await field.getByLabel(value).check();
    }
  }
  await page.getByTestId("apply-filters").click();
}

for (const javaScriptEnabled of [true, false]) {
  test.describe(javaScriptEnabled ? "with JavaScript" : "without JavaScript", () => {
    test.use({ javaScriptEnabled });
    const label = javaScriptEnabled ? "trip" : "plain trip";

    test("search, filter, label, trash, undo", async ({ page }) => {
      const cards = page.getByTestId("asset-card");
      const notice = page.getByTestId("notice");
      await page.goto("/assets");
      await page.getByTestId("search").fill("holi");
      await page.getByTestId("search-submit").click();
      await expect(cards).toHaveCount(3);
      await expect(page.getByTestId("result-count")).toHaveText("3 assets");

      await page.getByTestId("filters").locator("summary").click();
      await page.getByTestId("filter-kind").getByLabel("image").check();
      await page.getByTestId("filter-min_height").selectOption("480");
      await page.getByTestId("apply-filters").click();
      await expect(page.getByTestId("chip")).toHaveText([/holi/, /image/, /at least 480 px high/]);
      await expect(cards).toHaveCount(3);

      await expect(page.getByTestId("bulk")).toBeHidden();
      const ticks = page.getByTestId("tick");
      if (javaScriptEnabled) {
        await ticks.nth(0).click();
        await ticks.nth(2).click({ modifiers: ["Shift"] });
      } else {
        for (const tick of await ticks.all()) await tick.check();
      }
      await expect(page.locator('[data-testid="tick"]:checked')).toHaveCount(3);
      await page.getByTestId("bulk-label").fill(`${label}, sea`);
      await page.getByTestId("bulk-label").press("Enter");
      await expect(notice).toContainText("Changed 3 assets.");

      await page.getByTestId("chip").filter({ hasText: "at least" }).click();
      await expect(page.getByTestId("chip")).toHaveCount(2);
      await page.getByTestId("clear-filters").click();
      await expect(cards).toHaveCount(MEDIA_FILES);
      await page.getByTestId("filters").locator("summary").click();
      await page.getByTestId("filter-tag").getByRole("checkbox", { name: label }).first().check();
      await page.getByTestId("apply-filters").click();
      await expect(cards).toHaveCount(3);

      await ticks.first().check();
      await page.getByTestId("bulk-trash").click();
      await expect(notice).toContainText("Moved 1 asset to the trash.");
      await expect(cards).toHaveCount(2);
      await page.getByTestId("undo").click();
      await expect(notice).toContainText("Took 1 asset out of the trash.");
      await expect(cards).toHaveCount(3);

      await ticks.last().check();
      await page.getByTestId("bulk-trash").click();
      await expect(cards).toHaveCount(2);
      await page.getByRole("link", { name: "Trash" }).click();
      await expect(page.getByTestId("list-title")).toHaveText("Trash");
      await expect(cards).toHaveCount(1);
      await ticks.first().check();
      await page.getByTestId("bulk-restore").click();
      await expect(page.getByTestId("no-match")).toContainText("The trash is empty");
      await page.getByTestId("way-out").click();
      await expect(cards).toHaveCount(MEDIA_FILES);
    });

    test("every order begins with the right assets", async ({ page }) => {
      test.setTimeout(90_000);
      const order = async (sort: string) => {
        await page.goto("/assets");
        await page.getByTestId("sort").selectOption(sort);
        await page.getByTestId("search-submit").click();
        await expect(page.getByTestId("sort")).toHaveValue(sort);
        await expect(page).toHaveURL(/[?&]sort=/);
        await expect(listed(page)).toHaveCount(MEDIA_FILES);
        return listed(page).allTextContents();
      };
      expect(await order("name")).toEqual(IN_ORDER.map(baseName));
      // The portrait is old, and everything else as old as this run.
      expect((await order("newest"))[MEDIA_FILES - 1]).toBe("portrait.jpg");
      expect((await order("oldest"))[0]).toBe("portrait.jpg");
      // Pictures have no playing time.
      expect((await order("longest"))[0]).toBe("film.mp4");
      const paths = (await order("largest")).map(
        (name) => IN_ORDER.find((path) => baseName(path) === name)!,
      );
      const sizes = paths.map(bytesOf);
      expect(sizes).toEqual([...sizes].sort((a, b) => b - a));
      expect(paths[0]).toBe("film.mp4");
    });

    const inOrder = (passes: (path: string) => boolean) => IN_ORDER.filter(passes).map(baseName);
    const narrowed: [string, Record<string, string>, string[]][] = [
      ["a day", { from: PORTRAIT_DAY, to: PORTRAIT_DAY }, ["portrait.jpg"]],
      ["days up to one", { to: PORTRAIT_DAY }, ["portrait.jpg"]],
      ["days after one", { from: "2024-05-18" }, inOrder((path) => !/portrait/.test(path))],
      ["a codec", { codec: "h264" }, ["film.mp4"]],
      ["a duration at least", { min_duration: "10000" }, ["film.mp4"]],
      ["a duration at most", { max_duration: "60000" }, ["film.mp4"]],
      ["a width at least", { min_width: "1280" }, ["card.jpg", "wide & odd name.jpg"]],
      ["a width at most", { max_width: "640" }, inOrder((path) => !/card|wide/.test(path))],
      ["a height at least", { min_height: "720" }, ["card.jpg", "portrait.jpg"]],
      [
        "a height at most",
        { max_height: "480", min_width: "640" },
        ["bars.png", "blue.jpg", "film.mp4", "green.jpg", "red.png", "wide & odd name.jpg"],
      ],
    ];
    test("every filter lists the right assets", async ({ page }) => {
      test.setTimeout(180_000);
      const large = inOrder((path) => bytesOf(path) >= 1_000_000);
      const small = inOrder((path) => bytesOf(path) <= 100_000);
      expect(large).toContain("film.mp4");
      expect(small).toContain("small.png");
      expect(large.length + small.length).toBeLessThanOrEqual(MEDIA_FILES);
      for (const [what, fields, names] of [
        ...narrowed,
        ["a size at least", { min_size: "1000000" }, large],
        ["a size at most", { max_size: "100000" }, small],
      ] as typeof narrowed) {
        await page.goto("/assets?sort=name");
        await filter(page, fields);
        await expect(listed(page), what).toHaveText(names);
        // The form shows what was asked, and asks it again with the next search.
        await page.getByTestId("search-submit").click();
        await expect(listed(page), what).toHaveText(names);
      }
      // Nothing passes all of these.
      await page.goto("/assets");
      await filter(page, { codec: "h264", max_duration: "10000" });
      await expect(page.getByTestId("no-match")).toBeVisible();
    });

    test("several folders are listed at once", async ({ page }) => {
      test.setTimeout(90_000);
      await page.goto("/assets?sort=name");
      const folders = page.getByTestId("folders");
      await folders.getByRole("listitem").getByRole("link").last().click();
      await folders.getByRole("link", { name: "holidays" }).click();
      await expect(listed(page)).toHaveText(["blue.jpg", "green.jpg", "red.png"]);
      // One beside it is ticked.
      await filter(page, { folder: "people" });
      await expect(listed(page)).toHaveText(["blue.jpg", "green.jpg", "portrait.jpg", "red.png"]);
      const chips = page.getByTestId("chip");
      await expect(chips).toHaveText([/^in .*\/holidays/, /^in .*\/people/]);
      // Both stay ticked, and one can be dropped.
      await page.getByTestId("filters").locator("summary").click();
      const ticks = page.getByTestId("filter-folder").getByRole("checkbox");
      await expect(ticks).toHaveCount(2);
      for (const tick of await ticks.all()) await expect(tick).toBeChecked();
      await page.getByTestId("filter-folder").getByLabel("holidays").uncheck();
      await page.getByTestId("apply-filters").click();
      await expect(listed(page)).toHaveText(["portrait.jpg"]);
      // Any other by its path.
      const path = (await chips.textContent())!.replace(/^in (.*)\/people.*$/s, "$1/holidays");
      await filter(page, { "folder-path": path });
      await expect(listed(page)).toHaveText(["blue.jpg", "green.jpg", "portrait.jpg", "red.png"]);
    });

    test("a folder, a day and a kept filter narrow the list", async ({ page }) => {
      const cards = page.getByTestId("asset-card");
      await page.goto("/assets?sort=name");
      const folders = page.getByTestId("folders");
      // The folder that was imported is the only one at the top.
      await folders.getByRole("listitem").getByRole("link").last().click();
      await folders.getByRole("link", { name: "holidays" }).click();
      await expect(cards).toHaveCount(3);
      await expect(cards.first()).toContainText("blue.jpg");
      await page.getByTestId("day").first().click();
      await expect(page.getByTestId("all-days")).toBeVisible();
      await expect(cards).toHaveCount(3);

      const title = `Kept ${label}`;
      await page.getByTestId("filter-title").fill(title);
      await page.getByTestId("save-filter").click();
      await expect(page.getByTestId("notice")).toContainText("Saved.");
      await page.goto("/assets");
      await page.getByTestId("kept-filter").filter({ hasText: title }).click();
      await expect(cards).toHaveCount(3);
      await page.getByRole("button", { name: `Forget filter ${title}` }).click();
      await expect(page.getByTestId("notice")).toContainText("Removed.");
      await page.getByTestId("breadcrumb").getByRole("link", { name: "All folders" }).click();
      await expect(page.getByTestId("chip")).toHaveCount(1);
    });

    test("an asset is renamed and labelled, and put into a collection", async ({ page, damwall }) => {
      const asset = await named(damwall, "small.png");
      await page.goto(`/assets/${asset.id}`);
      await page.getByTestId("edit").locator("summary").click();
      await page.getByLabel("Name").fill("renamed & small.png");
      await page.getByLabel("Folder").fill("odd/ones");
      await page.getByLabel("Labels, one on each line").fill("a, b\nc");
      await page.getByTestId("save-asset").click();
      await expect(page.getByTestId("notice")).toContainText("Saved.");
      await expect(page.getByTestId("asset-title")).toHaveText("renamed & small.png");
      await expect(page.getByTestId("labels").getByRole("link")).toHaveText(["a, b", "c"]);
      await page.getByTestId("edit").locator("summary").click();
      await page.getByLabel("Folder").fill("a/../b");
      await page.getByTestId("save-asset").click();
      await expect(page.getByTestId("notice")).toContainText("Not taken: a folder is");
      await page.getByTestId("edit").locator("summary").click();
      await page.getByLabel("Name").fill("small.png");
      await page.getByLabel("Folder").fill("");
      await page.getByLabel("Labels, one on each line").fill("");
      await page.getByTestId("save-asset").click();
      await expect(page.getByTestId("asset-title")).toHaveText("small.png");
      await expect(page.getByTestId("labels")).toHaveCount(0);
      await expect(page.getByText("odd/ones")).toHaveCount(0);

      const title = `Best ${label}`;
      await page.goto("/assets/collections");
      await page.getByTestId("collection-title").fill(title);
      await page.getByTestId("add-collection").click();
      await page.goto("/assets?q=bars");
      await page.getByTestId("tick").first().check();
      await page.getByTestId("bulk-collection").selectOption({ label: title });
      await page.getByTestId("bulk-apply").click();
      await expect(page.getByTestId("notice")).toContainText("Changed 1 asset.");
      await page.goto("/assets/collections");
      await page.getByRole("link", { name: title }).click();
      await expect(page.getByTestId("list-title")).toHaveText(title);
      await expect(page.getByTestId("asset-card")).toHaveCount(1);
      await page.getByTestId("tick").first().check();
      await page.getByTestId("bulk-take-out").click();
      await expect(page.getByTestId("no-match")).toContainText("Nothing in here yet");
      await page.goto("/assets/collections");
      const row = page.getByTestId("collection-row").filter({ hasText: title });
      await row.getByTestId("change-collection").locator("summary").click();
      await row.getByTestId("delete-collection").click();
      await expect(page.getByTestId("notice")).toContainText("Removed.");
      await expect(row).toHaveCount(0);
    });
  });
}

test("a form of another site changes nothing", async ({ request, damwall }) => {
  const asset = await named(damwall, "card.jpg");
  const response = await request.post("/fn/assets-change", {
    headers: { origin: "https://evil.example", accept: "text/html" },
    form: { "ids[]": asset.id, action: "trash" },
    maxRedirects: 0,
  });
  expect(response.status()).toBe(403);
  await named(damwall, "card.jpg");
});

test("a form leads nowhere but to pages of assets", async ({ request, damwall }) => {
  const response = await request.post("/fn/assets-change", {
    headers: { accept: "text/html" },
    form: { back: "https://evil.example/" },
    maxRedirects: 0,
  });
  expect(response.status()).toBe(302);
  expect(response.headers().location).toBe("/assets?notice=nothing.0");
  await named(damwall, "card.jpg");
});

test.describe("a signed link that has expired", () => {
  test.use({ expectedErrors: [/403/] });

  test("is signed again once, and the film goes on where it was", async ({ page, damwall }) => {
    const film = await named(damwall, "film.mp4");
    // A seek asks the signed link itself; one that a redirect leads to passes unseen.
    let isExpired = false;
    let signed = 0;
    await page.route("**/blob/**", (route) =>
      isExpired ? route.fulfill({ status: 403 }) : route.continue(),
    );
    page.on("request", (request) => {
      if (!request.url().endsWith("/original")) return;
      signed += 1;
      // The new link is good.
      isExpired = false;
    });
    await page.goto(`/assets/${film.id}`);
    const player = page.getByTestId("asset-player");
    await expect
      .poll(() => player.evaluate((video) => (video as HTMLVideoElement).readyState))
      .toBeGreaterThanOrEqual(1);
    const before = signed;
    isExpired = true;
    const target = FILM_SECS - 5;
    await player.evaluate((video, secs) => ((video as HTMLVideoElement).currentTime = secs), target);
    await expect.poll(() => signed - before).toBe(1);
    await expect
      .poll(() =>
        player.evaluate((element) => {
          const video = element as HTMLVideoElement;
          return video.readyState >= 2 && video.error === null ? Math.round(video.currentTime) : -1;
        }),
      )
      .toBe(target);
    expect(signed - before).toBe(1);
    await expect(page.getByTestId("player-trouble")).toBeHidden();
  });

  test("a film that cannot be had says so, without a storm", async ({ page, damwall }) => {
    const film = await named(damwall, "film.mp4");
    const asked: string[] = [];
    await page.route(/\/api\/assets\/[^/]+\/(original|renditions\/proxy_\w+)$/, (route) => {
      const request = route.request();
      // By the player: what is asked beside it is whether the store is away.
      if (request.method() === "GET") asked.push(new URL(request.url()).pathname.split("/").pop()!);
      return route.fulfill({ status: 403 });
    });
    await page.goto(`/assets/${film.id}`);
    await expect(page.getByTestId("player-trouble")).toContainText("This browser cannot play it.");
    // The original twice, as its link may have expired, then its proxy if that has been made.
    expect(asked.slice(0, 2)).toEqual(["original", "original"]);
    // A storm would go on.
    await page.waitForTimeout(3_000);
    expect(asked.length).toBeLessThanOrEqual(3);
  });

  test("a film whose original does not play is played by its proxy", async ({ page, request, damwall }) => {
    test.setTimeout(180_000);
    const film = await named(damwall, "film.mp4");
    const has = async () => {
      const { items } = await (await request.get(`/api/assets/${film.id}/renditions`)).json();
      return items.some((one: { kind: string }) => one.kind === "proxy_720p");
    };
    await expect.poll(has, { timeout: 90_000 }).toBe(true);
    await page.route("**/original", (route) => route.fulfill({ status: 403 }));
    await page.goto(`/assets/${film.id}`);
    const player = page.getByTestId("asset-player");
    await expect(player).toHaveAttribute("src", /proxy_720p$/);
    await expect
      .poll(() => player.evaluate((video) => (video as HTMLVideoElement).readyState))
      .toBeGreaterThanOrEqual(2);
    await expect(page.getByTestId("player-trouble")).toBeHidden();
  });
});

test.describe("a store that is away for a while", () => {
  test.use({ expectedErrors: [/503/] });

  test("is waited for, and the film plays when it is back", async ({ page, damwall }) => {
    const film = await named(damwall, "film.mp4");
    let isAway = true;
    await page.route("**/original", (route) =>
      isAway ? route.fulfill({ status: 503 }) : route.continue(),
    );
    await page.goto(`/assets/${film.id}`);
    const trouble = page.getByTestId("player-trouble");
    await expect(trouble).toHaveText("The store does not answer. It is tried again by itself.");
    isAway = false;
    const player = page.getByTestId("asset-player");
    await expect
      .poll(() => player.evaluate((video) => (video as HTMLVideoElement).readyState), {
        timeout: 20_000,
      })
      .toBeGreaterThanOrEqual(1);
    await expect(trouble).toBeHidden();
    await expect(player).toHaveAttribute("src", /original$/);
  });

  test("is waited for by a page that has nothing to show", async ({ page }) => {
    let isAway = true;
    await page.route("**/fn/collections*", (route) =>
      isAway
        ? route.fulfill({ status: 503, json: { error: "unavailable" } })
        : route.continue(),
    );
    await page.goto("/assets/upload");
    // From here on the page's code runs, and asks for what it shows.
    await expect(page.getByTestId("upload-submit")).toBeHidden();
    await page.getByRole("link", { name: "← Assets" }).click();
    await page.locator(".tab", { hasText: "Collections" }).click();
    await expect(page.getByTestId("error")).toContainText("The catalog cannot answer");
    await expect(page.getByTestId("error-hint")).toBeVisible();
    isAway = false;
    await expect(page.getByTestId("collection-title")).toBeVisible({ timeout: 20_000 });
    await expect(page.getByTestId("error")).toHaveCount(0);
  });
});

test("a collection that is gone is not found, by its address and by a link", async ({
  page,
  request,
}) => {
  const made = await (await request.post("/api/collections", { data: { title: "Short" } })).json();
  await page.goto(`/assets/collections/${made.id}`);
  await expect(page.getByTestId("list-title")).toHaveText("Short");
  expect((await request.delete(`/api/collections/${made.id}`)).ok()).toBe(true);
  const response = await request.get(`/assets/collections/${made.id}`);
  expect(response.status()).toBe(404);
  expect(await response.text()).toContain("There is nothing at this address.");
});

test("the storyboard shows the time under the pointer", async ({ page, request, damwall }) => {
  test.setTimeout(180_000);
  const film = await named(damwall, "film.mp4");
  const has = async () => {
    const { items } = await (await request.get(`/api/assets/${film.id}/renditions`)).json();
    return items.some((one: { kind: string }) => one.kind === "storyboard_vtt");
  };
  await expect.poll(has, { timeout: 90_000 }).toBe(true);
  await page.goto(`/assets/${film.id}`);
  const scrub = page.getByTestId("scrub");
  await expect(scrub).toBeVisible();
  const box = (await scrub.boundingBox())!;
  await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
  const picture = page.getByTestId("scrub-picture");
  await expect(picture).toBeVisible();
  await expect(picture).toHaveText(/0:(19|20)/);
  const background = await picture.evaluate((one) => getComputedStyle(one).backgroundImage);
  expect(background).toContain("/assets/thumbs/");
  await page.mouse.down();
  await page.mouse.up();
  const player = page.getByTestId("asset-player");
  await expect
    .poll(() => player.evaluate((video) => Math.round((video as HTMLVideoElement).currentTime)))
    .toBe(FILM_SECS / 2);
  await page.mouse.move(box.x + box.width / 2, box.y - 40);
  await expect(picture).toBeHidden();
});
