// Adding, changing and removing cameras by the pages, with and without JavaScript.

import type { Page } from "@playwright/test";

import { Damwall } from "../support/damwall";
import { expect, framesMore, test } from "../support/fixtures";
import { tileOf } from "../support/wall";

const rowOf = (page: Page, camera: string) =>
  page.locator(`[data-testid="camera-row"][data-camera-id="${camera}"]`);

test.afterEach(async ({ damwall }) => {
  await damwall.removeCamera("attic");
});

// The browser logs every answer that is an error, and the server's refusals are what is tested.
test.use({ expectedErrors: [/status of (400|403|404|409|422|500|502|503)/] });

async function add(page: Page, id: string, name: string, url: string) {
  await page.getByLabel("Name in addresses").fill(id);
  await page.getByLabel("Name to show").fill(name);
  await page.getByLabel("Source", { exact: true }).fill(url);
  await page.getByTestId("save-camera").click();
}

test("a camera is added, plays, is renamed and removed", async ({ page }) => {
  await page.goto("/live");
  await page.getByTestId("manage-cameras").click();
  await page.getByTestId("add-camera").click();
  await add(page, "attic", "Attic", "test:640x360");

  await expect(page).toHaveURL(/\/live\/cameras$/);
  const row = rowOf(page, "attic");
  await expect(row.getByTestId("camera-state")).toHaveText("Live", { timeout: 20_000 });
  await page.goto("/live");
  await framesMore(tileOf(page, "attic"), 15);

  await page.goto("/live/cameras");
  await row.getByTestId("edit-camera").click();
  await expect(page.getByTestId("camera-title")).toHaveText("Attic");
  await page.getByLabel("Name to show").fill("Loft");
  await page.getByTestId("save-camera").click();
  await expect(row).toContainText("Loft");
  await expect(row, "its source was left empty, and so kept").toContainText("test:640x360");

  await row.getByTestId("edit-camera").click();
  await page.getByTestId("remove-camera").click();
  await page.getByTestId("confirm-remove").click();
  await expect(page).toHaveURL(/\/live\/cameras$/);
  await expect(rowOf(page, "door")).toBeVisible();
  await expect(row).toHaveCount(0);
  await page.goto("/live");
  await expect(tileOf(page, "door")).toBeVisible();
  await expect(tileOf(page, "attic")).toHaveCount(0);
});

test("what is wrong is said beside its field", async ({ page }) => {
  await page.goto("/live/cameras/new");
  await add(page, "attic", "", "ftp://host/secret-path");
  await expect(page.getByTestId("error-url")).toBeVisible();
  await expect(page.getByTestId("error-url")).not.toContainText("secret-path");
  await expect(page.getByLabel("Source", { exact: true })).toHaveAttribute("aria-invalid", "true");
  await expect(page.getByLabel("Source", { exact: true })).toHaveValue("ftp://host/secret-path");

  await add(page, "door", "", "test:640x360");
  await expect(page.getByTestId("error-id")).toBeVisible();
});

test("a source is tested before it is saved", async ({ page, camera }) => {
  await camera.on();
  await page.goto("/live/cameras/new");
  await page.getByLabel("Source", { exact: true }).fill(camera.url);
  await page.getByTestId("probe").click();
  const result = page.getByTestId("probe-result");
  await expect(result).toContainText("640×360", { timeout: 20_000 });
  await expect(result).toContainText("Key frames");

  await page.getByLabel("Source", { exact: true }).fill("rtsp://127.0.0.1:1/none");
  await page.getByTestId("probe").click();
  await expect(page.getByTestId("probe-error")).toBeVisible({ timeout: 20_000 });
});

test("a camera of the configuration file is not changed here", async ({ page }) => {
  await page.goto("/live/cameras");
  await expect(rowOf(page, "door")).toContainText("configuration file");
  await page.goto("/live/cameras/door");
  await expect(page.getByTestId("managed-by-config")).toBeVisible();
  await expect(page.getByTestId("camera-form")).toHaveCount(0);
});

for (const javaScriptEnabled of [true, false]) {
  test.describe(javaScriptEnabled ? "with JavaScript" : "without JavaScript", () => {
    test.use({ javaScriptEnabled });

    test("a camera that the file has taken over says so when it is saved or removed", async ({
      page,
    }) => {
      const live = '[live]\nudp_addr = "127.0.0.1:0"\n';
      const damwall = await Damwall.start(live);
      try {
        await damwall.addCamera("yard", "test:64x64");
        await page.goto(`${damwall.url}/live/cameras/yard`);
        await expect(page.getByTestId("camera-form")).toBeVisible();
        const other = await page.context().newPage();
        await other.goto(`${damwall.url}/live/cameras/yard`);
        await expect(other.getByTestId("camera-form")).toBeVisible();
        damwall.reload(`${live}[[cameras]]\nid = "yard"\nurl = "test:64x64"\n`);
        await expect.poll(() => damwall.managed("yard")).toBe("config");
        await page.getByTestId("save-camera").click();
        await other.getByTestId("remove-camera").click();
        await other.getByTestId("confirm-remove").click();
        if (javaScriptEnabled) {
          for (const tried of [page, other]) {
            await expect(tried.getByTestId("form-error")).toBeVisible();
            await expect(tried.getByTestId("form-error")).toContainText("configuration file");
          }
        } else {
          // The page is made anew, and says where the camera is set.
          for (const tried of [page, other]) {
            await expect(tried.getByTestId("managed-by-config")).toBeVisible();
          }
        }
      } finally {
        await damwall.stop();
      }
    });
  });
}

test.describe("without JavaScript", () => {
  test.use({ javaScriptEnabled: false });

  test("a camera is added, changed and removed", async ({ page, damwall }) => {
    await page.goto("/live/cameras/new");
    await add(page, "attic", "Attic", "test:640x360");
    await expect(page).toHaveURL(/\/live\/cameras$/);
    await expect(rowOf(page, "attic")).toContainText("Attic");
    await damwall.live("attic");

    await rowOf(page, "attic").getByTestId("edit-camera").click();
    await page.getByLabel("Name to show").fill("Loft");
    await page.getByTestId("save-camera").click();
    await expect(rowOf(page, "attic")).toContainText("Loft");

    await rowOf(page, "attic").getByTestId("edit-camera").click();
    await page.getByTestId("remove-camera").click();
    await page.getByTestId("confirm-remove").click();
    await expect(page).toHaveURL(/\/live\/cameras$/);
    await expect(rowOf(page, "attic")).toHaveCount(0);
  });

  test("what is wrong is said beside its field", async ({ page }) => {
    await page.goto("/live/cameras/new");
    await add(page, "attic", "", "ftp://host/");
    await expect(page.getByTestId("error-url")).toBeVisible();
  });
});
