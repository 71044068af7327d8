// What a test may ask for. A worker keeps one camera and one server for its tests.

import { type Locator, test as base, expect } from "@playwright/test";

import { Camera } from "./camera";
import { Damwall } from "./damwall";

export { expect };

interface WorkerFixtures {
  /** Lines in front of the server's configuration; another value gets another server. */
  serverConfig: string;
  /** Whether it has imported the media folder. */
  hasMedia: boolean;
  /** Lines of its `[live]` section. */
  liveConfig: string;
  camera: Camera;
  damwall: Damwall;
}

interface TestFixtures {
  /** Console errors that a test provokes on purpose. Any other fails it. */
  expectedErrors: RegExp[];
  quietConsole: void;
}

/** What Chromium says of code that was still loading when the test went elsewhere. */
const PAGE_LEFT = /Response body loading was aborted/;

export const test = base.extend<TestFixtures, WorkerFixtures>({
  serverConfig: ["", { scope: "worker", option: true }],
  hasMedia: [true, { scope: "worker", option: true }],
  // Any free UDP port: another Damwall may run on this machine.
  liveConfig: ['udp_addr = "127.0.0.1:0"', { scope: "worker", option: true }],

  camera: [
    async ({}, use) => {
      const camera = await Camera.start();
      await use(camera);
      await camera.stop();
    },
    { scope: "worker" },
  ],

  damwall: [
    async ({ camera, serverConfig, hasMedia, liveConfig }, use) => {
      const cameras = `[[cameras]]\nid = "door"\nname = "Door"\nurl = "${camera.url}"\n`;
      const toml = [serverConfig, "[live]", liveConfig, cameras].join("\n");
      const media = hasMedia ? process.env.DAMWALL_TEST_MEDIA : undefined;
      const damwall = await Damwall.start(toml, media);
      await use(damwall);
      await damwall.stop();
    },
    { scope: "worker", timeout: 60_000 },
  ],

  baseURL: async ({ damwall }, use) => use(damwall.url),

  expectedErrors: [[], { option: true }],

  quietConsole: [
    async ({ context, damwall, expectedErrors }, use, info) => {
      const errors: string[] = [];
      const note = (text: string) => {
        const expected = [PAGE_LEFT, ...expectedErrors];
        if (!expected.some((expected) => expected.test(text))) errors.push(text);
      };
      context.on("console", (message) => {
        if (message.type() === "error") note(`${message.text()} (${message.location().url})`);
      });
      context.on("weberror", (failure) => note(String(failure.error().stack ?? failure.error())));
      await use();
      if (info.status !== info.expectedStatus || errors.length > 0) {
        await info.attach("server log", { body: damwall.log(), contentType: "text/plain" });
      }
      expect(errors, "errors in the browser's console").toEqual([]);
    },
    { auto: true },
  ],
});

/** Chromium's made-up camera and microphone, which need nobody's consent. */
export const FAKE_DEVICES = {
  permissions: ["camera", "microphone"],
  launchOptions: async ({ launchOptions }, use) => {
    const args = [
      ...(launchOptions.args ?? []),
      "--use-fake-device-for-media-stream",
      "--use-fake-ui-for-media-stream",
    ];
    await use({ ...launchOptions, args });
  },
} satisfies Parameters<typeof test.use>[0];

/** How many frames a tile's `<video>` has presented. */
export async function presentedFrames(tile: Locator): Promise<number> {
  return Number((await tile.getAttribute("data-presented-frames")) ?? "0");
}

/** Waits until a tile has presented that many frames more than it has now. */
export async function framesMore(tile: Locator, more: number, timeout = 15_000): Promise<void> {
  const before = await presentedFrames(tile);
  await expect
    .poll(() => presentedFrames(tile), { timeout, intervals: [50], message: "presented frames" })
    .toBeGreaterThanOrEqual(before + more);
}
