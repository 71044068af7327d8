// What Chromium gets of cameras whose sound or video it cannot take as it is, and of those it can.

import { Camera } from "../support/camera";
import { expect, framesMore, test } from "../support/fixtures";
import { inbound, inboundSound, keepPeers, pictureSize, tileOf } from "../support/wall";

test.describe("sound", () => {
  // Its picture costs little: it is the sound that is looked at.
  const SMALL = ["--width=320", "--height=180", "--fps=15"];
  // How loud its tone is.
  const LOUDNESS = 0.1;

  for (const [codec, offered, mimeType] of [
    ["opus", "opus", "audio/opus"],
    ["mulaw", "PCMU", "audio/PCMU"],
    // Which browsers do not take over WebRTC.
    ["aac", "opus", "audio/opus"],
  ]) {
    test(`of a camera in ${codec} is heard`, async ({ page, damwall }) => {
      test.setTimeout(90_000);
      const camera = await Camera.start(15, `--audio=${codec}`, ...SMALL);
      try {
        await damwall.addCamera("yard", camera.url);
        const row = async () => (await damwall.cameras()).find(({ id }) => id === "yard");
        await expect.poll(async () => (await row())?.audio, { timeout: 30_000 }).toBe(offered);
        await keepPeers(page);
        await page.goto("/live?camera=yard");
        const tile = tileOf(page, "yard");
        await framesMore(tile, 5);

        const toggle = tile.getByTestId("sound-toggle");
        await expect(toggle).toHaveAttribute("aria-pressed", "false");
        await toggle.click();
        await expect(toggle).toHaveAttribute("aria-pressed", "true");
        const isHeard = await tile.locator("video").evaluate((element) => {
          const video = element as HTMLVideoElement;
          return !video.muted && !video.paused && video.volume > 0;
        });
        expect(isHeard).toBe(true);

        const heard = async () => {
          const [stats, ...others] = await inboundSound(tile);
          expect(others).toEqual([]);
          return stats;
        };
        const before = await heard();
        expect(before.mimeType).toBe(mimeType);
        const secs = async () => (await heard()).totalSamplesDuration - before.totalSamplesDuration;
        await expect.poll(secs, { timeout: 20_000 }).toBeGreaterThan(3);
        const after = await heard();
        const more = (key: "packetsReceived" | "totalSamplesReceived" | "concealedSamples") =>
          after[key] - before[key];
        expect(more("packetsReceived")).toBeGreaterThan(10);
        expect(more("concealedSamples") / more("totalSamplesReceived")).toBeLessThan(0.2);
        // The tone itself, neither silence nor noise.
        const energy = after.totalAudioEnergy - before.totalAudioEnergy;
        const loudness = Math.sqrt(
          energy / (after.totalSamplesDuration - before.totalSamplesDuration),
        );
        test.info().annotations.push({ type: "loudness", description: loudness.toFixed(3) });
        expect(loudness).toBeGreaterThan(LOUDNESS / 2);
        expect(loudness).toBeLessThan(LOUDNESS * 2);
      } finally {
        await damwall.removeCamera("yard");
        await camera.stop();
      }
    });
  }
});

test("a camera in H.265 plays in a browser without it, as one H.264 for all", async ({
  page,
  context,
  damwall,
}) => {
  test.setTimeout(120_000);
  const camera = await Camera.start(30, "--codec=h265");
  try {
    await damwall.addCamera("yard", camera.url);
    await damwall.live("yard");
    const row = (await damwall.cameras()).find(({ id }) => id === "yard");
    expect(row?.video?.codec).toMatch(/^h[ev][vc]1\./);

    const pages = [page, await context.newPage()];
    for (const viewer of pages) {
      await keepPeers(viewer);
      await viewer.goto("/live?camera=yard");
      const codecs = await viewer.evaluate(() =>
        RTCRtpReceiver.getCapabilities("video")!.codecs.map(({ mimeType }) => mimeType),
      );
      expect(codecs).not.toContain("video/H265");
      const tile = tileOf(viewer, "yard");
      await expect(tile).toHaveAttribute("data-state", "playing", { timeout: 30_000 });
      await framesMore(tile, 60, 30_000);
      expect(await pictureSize(tile)).toBe("640x360");
      const [stats, ...others] = await inbound(tile);
      expect(others).toEqual([]);
      expect(stats.mimeType).toBe("video/H264");
      await tile.getByTestId("hud-toggle").click();
      await expect(tile.getByTestId("hud")).toContainText("layer low");
    }
    const begun = damwall.log().match(/camera yard: its layer low is wanted/g) ?? [];
    expect(begun, "encoders, for two viewers").toHaveLength(1);
  } finally {
    await damwall.removeCamera("yard");
    await camera.stop();
  }
});
