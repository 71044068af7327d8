// A browser that was told not to let pages use the camera.

import { expect, test } from "../support/fixtures";

test.use({
  launchOptions: async ({ launchOptions }, use) => {
    const args = [...(launchOptions.args ?? []), "--use-fake-device-for-media-stream"];
    await use({ ...launchOptions, args });
  },
});

test("the page says what to do", async ({ page, damwall }) => {
  await damwall.addCamera("studio", "whip:");
  await page.goto("/live/publish/studio");
  await page.getByTestId("open-camera").click();
  await expect(page.getByTestId("publish")).toHaveAttribute("data-state", "failed");
  await expect(page.getByTestId("publish-status")).toContainText("Permit camera and microphone");
  await expect(page.getByTestId("publish-start")).toBeDisabled();
});
