// The pages' code comes in parts: what all share, and one part for each kind of page.

import type { Page } from "@playwright/test";

import { expect, test } from "../support/fixtures";
import { tileOf } from "../support/wall";

/** Which parts a page has asked for, in that order, as their files are called. */
function partsOf(page: Page): string[] {
  const parts: string[] = [];
  page.on("request", (request) => {
    const part = request.url().match(/\/pkg\/split_([a-z]+)\.[\w-]+\.wasm$/)?.[1];
    if (part && !parts.includes(part)) parts.push(part);
  });
  return parts;
}

async function watch(page: Page): Promise<void> {
  await page.goto("/live");
  // It plays only when the page has come to life.
  await expect(tileOf(page, "door")).toHaveAttribute("data-state", "playing");
}

const toAssets = (page: Page) =>
  page.getByRole("navigation", { name: "Main" }).getByRole("link", { name: "Assets" }).click();

test.beforeEach(async ({ camera, damwall }) => {
  await camera.on();
  await damwall.live("door");
});

test("a page loads its own part, and another one's when somebody goes there", async ({ page }) => {
  const parts = partsOf(page);
  await watch(page);
  expect(parts).toEqual(["live"]);
  await toAssets(page);
  await expect(page.getByTestId("list-title")).toBeVisible();
  expect(parts).toEqual(["live", "library"]);
  await page.goBack();
  await expect(tileOf(page, "door")).toHaveAttribute("data-state", "playing");
  expect(parts).toEqual(["live", "library"]);
});

test("a page's head names the files of its part, so that they are asked for at once", async ({
  request,
}) => {
  const html = await (await request.get("/live")).text();
  expect(html).toMatch(/<link[^>]*\/pkg\/split_live\.[\w-]+\.wasm/);
  expect(html).not.toContain("/pkg/split_library.");
});

test.describe("a part that cannot be loaded", () => {
  test.use({ expectedErrors: [/ERR_FAILED|Failed to fetch/] });

  test("is done without: links lead to what the server renders", async ({ page }) => {
    await watch(page);
    await page.route("**/pkg/split_library.*", (route) => route.abort());
    // A document that was loaded anew knows nothing of this.
    await page.evaluate(() => Object.assign(window, { isFirst: true }));
    await toAssets(page);
    await expect(page.getByTestId("list-title")).toBeVisible();
    await expect(page).toHaveURL(/\/assets$/);
    expect(await page.evaluate(() => "isFirst" in window)).toBe(false);
  });
});
