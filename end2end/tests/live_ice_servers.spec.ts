// STUN and TURN servers of the configuration reach the browser's peer connections.

import type { Page } from "@playwright/test";

import { expect, FAKE_DEVICES, framesMore, test } from "../support/fixtures";
import { tileOf } from "../support/wall";

// Nobody answers there; sessions go directly.
test.use({
  serverConfig: [
    '[[live.ice_servers]]\nurl = "stun:127.0.0.1:9"',
    '[[live.ice_servers]]\nurl = "turn:127.0.0.1:9?transport=udp"',
    'username = "viewer"\ncredential = "sesame"',
  ].join("\n"),
  ...FAKE_DEVICES,
});

const EXPECTED = [
  { urls: "stun:127.0.0.1:9" },
  { urls: "turn:127.0.0.1:9?transport=udp", username: "viewer", credential: "sesame" },
];

/** Notes what every peer connection of the page is made with. */
async function noteIceServers(page: Page): Promise<void> {
  await page.addInitScript(() => {
    const noted: unknown[] = [];
    Object.assign(window, { noted });
    const Native = RTCPeerConnection;
    window.RTCPeerConnection = class extends Native {
      constructor(configuration?: RTCConfiguration) {
        super(configuration);
        noted.push(configuration?.iceServers);
      }
    };
  });
}

const noted = (page: Page) =>
  page.evaluate(() => (window as unknown as { noted: unknown[] }).noted);

test("the player has them before it offers", async ({ page, damwall }) => {
  await damwall.live("door");
  await noteIceServers(page);
  await page.goto("/live");
  await framesMore(tileOf(page, "door"), 10);
  expect(await noted(page)).toEqual([EXPECTED]);
});

test("the publisher has them before it offers", async ({ page, damwall }) => {
  await damwall.addCamera("studio", "whip:");
  await noteIceServers(page);
  await page.goto("/live/publish/studio");
  await page.getByTestId("open-camera").click();
  await page.getByTestId("publish-start").click();
  await expect(page.getByTestId("publish")).toHaveAttribute("data-state", "live", {
    timeout: 15_000,
  });
  expect(await noted(page)).toEqual([EXPECTED]);
  await damwall.removeCamera("studio");
});
