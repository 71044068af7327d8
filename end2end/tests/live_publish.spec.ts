// A browser that publishes, and another page that watches it.

import type { Page } from "@playwright/test";

import { expect, FAKE_DEVICES, framesMore, test } from "../support/fixtures";
import { inbound, keepPeers, peersMade, pictureSize, tileOf } from "../support/wall";

test.use(FAKE_DEVICES);

test.beforeAll(async ({ camera, damwall }) => {
  // Nobody looks at it here, and its encoder would take from the browser's.
  await camera.off();
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

  await unpublish(page);
  const state = async () => (await damwall.cameras()).find((row) => row.id === "studio")?.state;
  await expect.poll(state).not.toBe("live");
  await page.getByTestId("publish-close").click();
  await expect(publish).toHaveAttribute("data-state", "idle");
});

/** Publishes this computer's camera from the publish page. */
async function publish(page: Page, size: string, simulcast: boolean) {
  await page.goto("/live/publish/studio");
  await page.getByTestId("publish-simulcast").setChecked(simulcast);
  await page.getByLabel("Size").selectOption(size);
  await page.getByTestId("open-camera").click();
  await page.getByTestId("publish-start").click();
  await expect(page.getByTestId("publish")).toHaveAttribute("data-state", "live", {
    timeout: 15_000,
  });
}

/** Stops, and waits until the server knows: the next one would be refused before. */
async function unpublish(page: Page) {
  await page.bringToFront();
  const ended = page.waitForResponse(
    (response) =>
      response.request().method() === "DELETE" &&
      new URL(response.url()).pathname.startsWith("/whip/studio"),
  );
  await page.getByTestId("publish-stop").click();
  await expect(page.getByTestId("publish")).toHaveAttribute("data-state", "preview");
  await ended;
}

// What Debian's Chromium can encode. Each comes to the viewer as it was sent.
for (const [codec, named] of [
  ["H264", /^avc1\./],
  ["VP8", /^vp8$|^vp08\./],
  ["VP9", /^vp09\./],
  ["AV1", /^av01\./],
] as const) {
  test(`${codec} of a browser plays in another`, async ({ page, context, damwall }) => {
    test.setTimeout(60_000);
    await page.addInitScript((mimeType) => {
      const offer = RTCPeerConnection.prototype.createOffer;
      RTCPeerConnection.prototype.createOffer = function (this: RTCPeerConnection) {
        const { codecs } = RTCRtpSender.getCapabilities("video")!;
        const wanted = codecs.filter((one) => [mimeType, "video/rtx"].includes(one.mimeType));
        for (const transceiver of this.getTransceivers()) {
          if (transceiver.sender.track?.kind === "video") transceiver.setCodecPreferences(wanted);
        }
        return offer.call(this) as Promise<RTCSessionDescriptionInit>;
      } as typeof offer;
    }, `video/${codec}`);
    await publish(page, "480p", false);
    await damwall.live("studio");
    const studio = (await damwall.cameras()).find((row) => row.id === "studio");
    expect(studio?.video?.codec).toMatch(named);

    const wall = await context.newPage();
    await keepPeers(wall);
    await wall.goto("/live?camera=studio");
    const tile = tileOf(wall, "studio");
    await framesMore(tile, 30, 20_000);
    const [stats, ...others] = await inbound(tile);
    expect(others).toEqual([]);
    expect(stats.mimeType).toBe(`video/${codec}`);
    await wall.close();
    await unpublish(page);
  });
}

test("a simulcast of a browser is three layers, between which a viewer goes in its session", async ({
  page,
  context,
  damwall,
}) => {
  test.setTimeout(150_000);
  // On a busy machine the browser would make its pictures smaller; those that are to be read it does not.
  await page.addInitScript(() => {
    const devices = MediaDevices.prototype;
    const getUserMedia = devices.getUserMedia;
    devices.getUserMedia = async function (this: MediaDevices, constraints) {
      const stream = await getUserMedia.call(this, constraints);
      for (const track of stream.getVideoTracks()) track.contentHint = "detail";
      return stream;
    };
  });
  await publish(page, "720p", true);
  const layers = async () => {
    const studio = (await damwall.cameras()).find((row) => row.id === "studio");
    return studio?.layers.map(({ rid, width_px, height_px }) => `${rid} ${width_px}x${height_px}`);
  };
  // The best comes last: the browser sends it when it believes that the path carries it.
  await expect.poll(layers, { timeout: 60_000 }).toEqual(["h 1280x720", "m 640x360", "l 320x180"]);

  const wall = await context.newPage();
  await keepPeers(wall);
  let session = "";
  wall.on("response", async (response) => {
    const path = new URL(response.url()).pathname;
    if (path === "/whep/studio") session = (await response.headerValue("location")) ?? "";
  });
  await wall.goto("/live?camera=studio");
  const tile = tileOf(wall, "studio");
  await framesMore(tile, 15, 20_000);
  for (const [rid, size] of [
    ["l", "320x180"],
    ["m", "640x360"],
    ["h", "1280x720"],
    ["l", "320x180"],
  ]) {
    const data = { mediaId: "0", rid };
    const answer = await wall.request.post(`${session}/layer`, { data });
    expect(answer.status()).toBe(200);
    await expect.poll(() => pictureSize(tile), { message: rid, timeout: 20_000 }).toBe(size);
    await framesMore(tile, 15);
  }
  expect(await peersMade(wall)).toBe(1);
  await wall.close();
  await unpublish(page);
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
