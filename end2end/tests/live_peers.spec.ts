// Peers that are neither ours nor Chromium: aiortc watches and publishes, ffmpeg publishes.

import type { Page } from "@playwright/test";

import { Camera } from "../support/camera";
import { expect, framesMore, test } from "../support/fixtures";
import { AiortcViewers, aiortcPublisher, deleteBy, ffmpegPublisher } from "../support/peers";
import { inbound, keepPeers, tileOf } from "../support/wall";

test.describe("aiortc watches", () => {
  test.describe.configure({ timeout: 120_000 });
  // A camera that nobody else plays: who joins another's play waits for the next key frame.
  let camera: Camera;
  test.beforeAll(async ({ damwall }) => {
    camera = await Camera.start();
    await damwall.addCamera("yard", camera.url);
    await damwall.live("yard");
  });
  test.afterAll(async ({ damwall }) => {
    await damwall.removeCamera("yard");
    await camera.stop();
  });

  test("a camera over WHEP", async ({ damwall }) => {
    const viewers = await AiortcViewers.watch(`${damwall.url}/whep/yard`);
    try {
      await expect.poll(() => viewers.report().decoded[0], { timeout: 30_000 }).toBeGreaterThanOrEqual(60);
      expect(viewers.report().size).toEqual([640, 360]);
      expect(await viewers.delete()).toBe(200);
    } finally {
      await viewers.stop();
    }
  });

  test("every frame although one packet in twenty is lost", async ({ damwall }) => {
    const viewers = await AiortcViewers.watch(`${damwall.url}/whep/yard`, "--lose=0.05");
    try {
      await viewers.sentMore(15, 20_000);
      const before = viewers.report();
      await viewers.sentMore(300, 45_000);
      const after = viewers.report();
      const sent = after.sent[0] - before.sent[0];
      const decoded = () => viewers.report().decoded[0] - before.decoded[0];
      // The last of them may wait for a packet that was lost twice.
      await expect.poll(decoded, { timeout: 10_000 }).toBeGreaterThanOrEqual(0.99 * sent);
      const lost = after.lost[0] - before.lost[0];
      const { packets_retransmitted } = await viewers.stats();
      note("lost and repaired", `${lost} packets of ${sent} frames, ${packets_retransmitted} sent again`);
      expect(lost).toBeGreaterThan(10);
      expect(packets_retransmitted).toBeGreaterThanOrEqual(lost);
      expect(await viewers.delete()).toBe(200);
    } finally {
      await viewers.stop();
    }
  });

  test("a camera that reboots under twenty viewers", async ({ damwall }) => {
    const yard = async () => (await damwall.cameras()).find((row) => row.id === "yard")!;
    const viewers = await AiortcViewers.watch(
      `${damwall.url}/whep/yard`,
      ...["--viewers=20", "--no-decode"],
    );
    try {
      await viewers.sentMore(30, 20_000);
      await camera.off();
      await expect.poll(async () => (await yard()).state).not.toBe("live");
      await viewers.silent();
      // Back within a second or two. One that is away for longer waits for the next try, which is
      // up to ten seconds off.
      await camera.on();
      const answers = Date.now();
      await viewers.sentMore(1, 20_000);
      const elapsedMs = Date.now() - answers;
      note("a frame for all twenty", `${elapsedMs} ms after RTSP answered again`);
      await viewers.sentMore(30, 20_000);
      await expect.poll(async () => (await yard()).viewers).toBe(20);
      expect(await viewers.delete()).toBe(200);
    } finally {
      await viewers.stop();
    }
  });
});

test.describe("what is published plays in Chromium:", () => {
  test.beforeEach(({ damwall }) => damwall.addCamera("studio", "whip:"));
  test.afterEach(({ damwall }) => damwall.removeCamera("studio"));

  const plays = async (page: Page) => {
    await page.goto("/live?camera=studio");
    await framesMore(tileOf(page, "studio"), 30);
  };

  for (const codec of ["H264", "VP8"]) {
    test(`${codec} from aiortc`, async ({ page, damwall }) => {
      const publisher = await aiortcPublisher(`${damwall.url}/whip/studio`, codec);
      try {
        await damwall.live("studio");
        await keepPeers(page);
        await plays(page);
        const [stats] = await inbound(tileOf(page, "studio"));
        expect(stats.mimeType).toBe(`video/${codec}`);
        expect(await deleteBy(publisher)).toBe(200);
      } finally {
        await publisher.stop();
      }
    });
  }

  test("from ffmpeg, with its sound", async ({ page, damwall }) => {
    const publisher = ffmpegPublisher(`${damwall.url}/whip/studio`);
    try {
      await damwall.live("studio");
      const studio = (await damwall.cameras()).find((row) => row.id === "studio");
      expect(studio).toMatchObject({
        video: { codec: expect.stringMatching(/^avc1\./), width_px: 640, height_px: 360 },
        audio: "opus",
      });
      await plays(page);
    } finally {
      await publisher.stop();
    }
  });
});

/** A figure for the report, and for whoever watches the run. */
function note(type: string, description: string) {
  test.info().annotations.push({ type, description });
  console.log(`    ${type}: ${description}`);
}
