// A browser that publishes, and another page that watches it.

import { expect, framesMore, test } from "../support/fixtures";
import { tileOf } from "../support/wall";

test.use({
  permissions: ["camera", "microphone"],
  launchOptions: async ({ launchOptions }, use) => {
    const args = [
      ...(launchOptions.args ?? []),
      "--use-fake-device-for-media-stream",
      "--use-fake-ui-for-media-stream",
    ];
    await use({ ...launchOptions, args });
  },
});

test.beforeAll(async ({ damwall }) => {
  await damwall.addCamera("studio", "whip:");
});

test.afterAll(async ({ damwall }) => {
  await damwall.removeCamera("studio");
});

test("what a browser publishes plays on the wall", async ({ page, context, damwall }) => {
  test.setTimeout(60_000);
  await page.goto("/live/cameras");
  await page.getByTestId("publish-link").click();
  const publish = page.getByTestId("publish");
  await expect(publish).toHaveAttribute("data-state", "idle");

  await page.getByTestId("open-camera").click();
  await expect(publish).toHaveAttribute("data-state", "preview");
  const hasPicture = () =>
    page
      .getByTestId("publish-preview")
      .evaluate((element) => (element as HTMLVideoElement).videoWidth > 0);
  await expect.poll(hasPicture).toBe(true);
  expect((await damwall.cameras()).find((row) => row.id === "studio")?.state).not.toBe("live");

  await page.getByTestId("publish-start").click();
  await expect(publish).toHaveAttribute("data-state", "live", { timeout: 15_000 });
  await expect(page.getByTestId("publish-figures")).toContainText("sent");

  const wall = await context.newPage();
  await wall.goto("/live?camera=studio");
  await framesMore(tileOf(wall, "studio"), 30, 20_000);
  await wall.close();

  await page.bringToFront();
  await page.getByTestId("publish-stop").click();
  await expect(publish).toHaveAttribute("data-state", "preview");
  const state = async () => (await damwall.cameras()).find((row) => row.id === "studio")?.state;
  await expect.poll(state).not.toBe("live");
  await page.getByTestId("publish-close").click();
  await expect(publish).toHaveAttribute("data-state", "idle");
});

test.describe("when somebody publishes already", () => {
  // The refusal is what is tested.
  test.use({ expectedErrors: [/status of 409/] });

  test("the second one is told so", async ({ page, context }) => {
    await page.goto("/live/publish/studio");
    await page.getByTestId("open-camera").click();
    await page.getByTestId("publish-start").click();
    await expect(page.getByTestId("publish")).toHaveAttribute("data-state", "live", {
      timeout: 15_000,
    });

    const second = await context.newPage();
    await second.goto("/live/publish/studio");
    await second.getByTestId("open-camera").click();
    await second.getByTestId("publish-start").click();
    await expect(second.getByTestId("publish")).toHaveAttribute("data-state", "failed");
    await expect(second.getByTestId("publish-status")).toHaveAttribute("role", "status");
    await second.close();
  });
});
