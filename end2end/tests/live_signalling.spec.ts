// The less usual ways of a session: an offer of the server's, and another way to it.

import { expect, framesMore, test } from "../support/fixtures";
import { keepPeers, peersMade, tileOf } from "../support/wall";

test.beforeEach(async ({ camera, damwall }) => {
  await camera.on();
  await damwall.live("door");
});

test.describe("when the offer lacks the camera's codec", () => {
  // The counter-offer comes with this status.
  test.use({ expectedErrors: [/status of 406/] });

  test("the server's own offer is answered and plays", async ({ page }) => {
    const answers: string[] = [];
    await page.route("**/whep/door", async (route) => {
      const offer = route.request().postData() ?? "";
      const postData = offer.replace(/a=rtpmap:\d+ H264\/90000\r\n/g, "");
      await route.continue({ postData });
    });
    page.on("response", (response) => {
      const request = response.request();
      if (request.url().includes("/whep/")) {
        answers.push(`${request.method()} ${response.status()}`);
      }
    });
    await page.goto("/live?camera=door");
    await framesMore(tileOf(page, "door"), 30);
    expect(answers.slice(0, 2)).toEqual(["POST 406", "PATCH 204"]);
  });
});

test("pictures that stop while the camera sends them bring an ICE restart in the session", async ({
  page,
}) => {
  test.setTimeout(60_000);
  await keepPeers(page);
  let session = "";
  const restarts: number[] = [];
  page.on("response", async (response) => {
    const request = response.request();
    const path = new URL(request.url()).pathname;
    if (path === "/whep/door") session = (await response.headerValue("location")) ?? "";
    if (request.method() === "PATCH") restarts.push(response.status());
  });
  await page.goto("/live?camera=door");
  const door = tileOf(page, "door");
  await framesMore(door, 30);

  // As if the path had become a dead end: the camera is live, and nothing comes.
  const pause = (paused: boolean) => page.request.post(`${session}/pause`, { data: { paused } });
  expect((await pause(true)).status()).toBe(200);
  // At once: after a restart that brings nothing the page would begin anew.
  await expect
    .poll(() => restarts.length, { timeout: 20_000, intervals: [50] })
    .toBeGreaterThan(0);
  expect(restarts[0]).toBe(200);
  expect((await pause(false)).status()).toBe(200);
  await framesMore(door, 30);
  expect(await peersMade(page)).toBe(1);
});
