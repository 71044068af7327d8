// A film of 200 MB sent in parts, through a cut connection, a killed server and a reload.

import { createHash } from "node:crypto";
import {
  createReadStream,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { type Page, type Request } from "@playwright/test";

import { Damwall } from "../support/damwall";
import { expect, test } from "../support/fixtures";
import { drawn } from "../support/media";
import { Running } from "../support/process";
import { Weed } from "../support/weed";

const LIVE = '[live]\nudp_addr = "127.0.0.1:0"\n';
const MB = 1_000_000;
/** Parts on their way at once, at most. */
const PARALLEL = 5;

let folder: string;
let short: string;
let film: string;
let sha256: string;

test.describe.configure({ mode: "serial" });

test.beforeAll(async () => {
  test.setTimeout(120_000);
  folder = mkdtempSync(join(tmpdir(), "damwall-upload-"));
  short = join(folder, "short.mp4");
  film = join(folder, "long film.mp4");
  // Noise that hardly compresses, a key frame a second; then the same again and again.
  await Running.toEnd("ffmpeg", [
    ...["-nostdin", "-v", "error", "-f", "lavfi", "-i"],
    "testsrc2=s=640x360:r=25:d=20,noise=alls=80:allf=t",
    ...["-c:v", "libx264", "-preset", "ultrafast", "-qp", "8", "-g", "25"],
    ...["-pix_fmt", "yuv420p", short],
  ]);
  const times = Math.ceil((200 * MB) / statSync(short).size);
  await Running.toEnd("ffmpeg", [
    ...["-nostdin", "-v", "error", "-stream_loop", String(times - 1), "-i", short],
    ...["-c", "copy", "-movflags", "+faststart", film],
  ]);
  expect(statSync(film).size).toBeGreaterThan(190 * MB);
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(film)) hash.update(chunk);
  sha256 = hash.digest("hex");
});

test.afterAll(() => rmSync(folder, { recursive: true, force: true }));

test.use({
  // Cut connections and refused files. One expression: of a list of two Playwright makes a tuple.
  expectedErrors: [
    /ERR_(CONNECTION|SOCKET|INTERNET|FAILED|EMPTY|NETWORK)|Failed to fetch|with a status of (400|422)/,
  ],
});

/** Part number of a `PUT` to either store. */
function partNumber(request: Request): number | undefined {
  if (request.method() !== "PUT") return undefined;
  const query = new URL(request.url()).searchParams;
  const number = query.get("part") ?? query.get("partNumber");
  return number ? Number(number) : undefined;
}

/** Slow enough to be cut in the middle; the answer cuts the connection, or mends it. */
async function throttle(page: Page, bytesPerSecond: number) {
  const session = await page.context().newCDPSession(page);
  await session.send("Network.enable");
  const setOffline = (offline: boolean) =>
    session.send("Network.emulateNetworkConditions", {
      offline,
      latency: 0,
      downloadThroughput: -1,
      uploadThroughput: bytesPerSecond,
    });
  await setOffline(false);
  return setOffline;
}

const done = (page: Page) =>
  page
    .getByTestId("upload")
    .locator("progress")
    .evaluate((bar) => (bar as HTMLProgressElement).value / (bar as HTMLProgressElement).max);

async function sentMoreThan(page: Page, share: number) {
  const row = page.getByTestId("upload");
  await expect
    .poll(async () => ((await row.getAttribute("data-state")) === "sending" ? done(page) : 0), {
      timeout: 60_000,
      intervals: [50],
    })
    .toBeGreaterThan(share);
}

/** What a page sends, over reloads. */
interface Parts {
  /** How often one was begun. */
  begun: number;
  /** At this moment. */
  underWay: number;
  mostAtOnce: number;
  /** Those that the server has, as far as the page was answered or we have asked. */
  arrived: Set<number>;
  /** Those of them that were begun once more. */
  again: number[];
}

async function watchParts(page: Page): Promise<Parts> {
  const parts: Parts = { begun: 0, underWay: 0, mostAtOnce: 0, arrived: new Set(), again: [] };
  page.on("response", (response) => {
    const number = partNumber(response.request());
    if (number && response.ok()) parts.arrived.add(number);
  });
  page.on("request", (request) => {
    const number = partNumber(request);
    if (number && parts.arrived.has(number)) parts.again.push(number);
  });
  await page.exposeFunction("notePartsUnderWay", (count: number) => {
    if (count > parts.underWay) parts.begun += 1;
    parts.underWay = count;
    parts.mostAtOnce = Math.max(parts.mostAtOnce, count);
  });
  await page.addInitScript(() => {
    const { notePartsUnderWay } = window as unknown as {
      notePartsUnderWay: (count: number) => void;
    };
    const underWay = new Set<XMLHttpRequest>();
    notePartsUnderWay(0);
    const { open, send } = XMLHttpRequest.prototype;
    const puts = new WeakSet<XMLHttpRequest>();
    XMLHttpRequest.prototype.open = function (this: XMLHttpRequest, ...args: unknown[]) {
      if (args[0] === "PUT") {
        puts.add(this);
        // Before the page's own listeners, which may begin another part.
        for (const end of ["load", "error", "abort"]) {
          this.addEventListener(end, () => {
            if (underWay.delete(this)) notePartsUnderWay(underWay.size);
          });
        }
      }
      return Reflect.apply(open, this, args);
    } as typeof open;
    XMLHttpRequest.prototype.send = function (this: XMLHttpRequest, ...args: unknown[]) {
      if (puts.has(this)) notePartsUnderWay(underWay.add(this).size);
      return Reflect.apply(send, this, args);
    } as typeof send;
  });
  return parts;
}

/** The only upload that there is. */
async function theOnlyUpload(
  damwall: Damwall,
): Promise<{ part_size: number; parts_done: { number: number }[] }> {
  const { items } = await (await fetch(`${damwall.url}/api/uploads`)).json();
  expect(items).toHaveLength(1);
  return (await fetch(`${damwall.url}/api/uploads/${items[0].id}`)).json();
}

async function uploadThroughEverything(page: Page, damwall: Damwall) {
  const parts = await watchParts(page);
  // What the page was told of is there, and what is there is not sent again from here on.
  const ask = async (...told: number[]) => {
    const done = (await theOnlyUpload(damwall)).parts_done.map(({ number }) => number);
    expect(done).toEqual(expect.arrayContaining(told));
    expect(done.length).toBeGreaterThan(2);
    for (const number of done) parts.arrived.add(number);
  };
  const nothingAgain = (after: string) =>
    expect(parts.again, `parts that are sent again after ${after}`).toEqual([]);

  await page.goto(`${damwall.url}/assets/upload`);
  const setOffline = await throttle(page, 30 * MB);
  await page.getByTestId("upload-folder").fill("takes/monday");
  await page.getByTestId("upload-files").setInputFiles(film);
  const row = page.getByTestId("upload");
  await expect(row).toHaveCount(1);

  // Paused and gone on.
  await sentMoreThan(page, 0.3);
  await page.getByTestId("upload-pause").click();
  await expect(row).toHaveAttribute("data-state", "paused");
  await expect.poll(() => parts.underWay, { message: "parts on their way" }).toBe(0);
  const { begun } = parts;
  // Its clock ticks every half a second.
  await page.waitForTimeout(2_000);
  expect(parts.begun, "parts begun while it is paused").toBe(begun);
  await ask(...parts.arrived);
  await page.getByTestId("upload-resume").click();

  // The server is killed, and comes back.
  await sentMoreThan(page, 0.45);
  nothingAgain("a pause");
  const told = [...parts.arrived];
  await damwall.crash();
  await expect(row).toHaveAttribute("data-state", "retrying", { timeout: 60_000 });
  await damwall.restart();
  await ask(...told);
  await sentMoreThan(page, 0.6);
  nothingAgain("the server was killed");

  // The connection is cut, and mended.
  const cut = async () => {
    await setOffline(true);
    await expect(row).toHaveAttribute("data-state", "retrying", { timeout: 60_000 });
    await ask(...parts.arrived);
    await setOffline(false);
  };
  await cut();
  await sentMoreThan(page, 0.75);
  nothingAgain("a cut");

  // It is cut, and the page left.
  await cut();
  await page.reload();
  await expect(page.getByTestId("unfinished")).toHaveAttribute("data-name", "long film.mp4");
  await page.getByTestId("upload-files").setInputFiles(film);
  await expect(row).toHaveAttribute("data-state", "done", { timeout: 90_000 });
  await expect(page.getByTestId("unfinished")).toHaveCount(0);
  nothingAgain("a cut and a reload");
  expect(parts.mostAtOnce, "parts on their way at once").toBeLessThanOrEqual(PARALLEL);
  expect(parts.mostAtOnce, "parts on their way at once").toBeGreaterThan(1);
}

async function scrub(page: Page) {
  const seek = page.waitForResponse((response) => {
    const from = /^bytes (\d+)-/.exec(response.headers()["content-range"] ?? "");
    return response.status() === 206 && Number(from?.[1] ?? 0) > 100 * MB;
  });
  await page.getByTestId("upload").getByRole("link").click();
  await expect(page.getByTestId("asset-title")).toHaveText("long film.mp4");
  const player = page.getByTestId("asset-player");
  await expect
    .poll(() => player.evaluate((video) => (video as HTMLVideoElement).readyState))
    .toBeGreaterThanOrEqual(1);
  await player.evaluate(async (element) => {
    const video = element as HTMLVideoElement;
    const seeked = new Promise((resolve) =>
      video.addEventListener("seeked", resolve, { once: true }),
    );
    video.currentTime = video.duration * 0.8;
    await seeked;
  });
  await seek;
}

async function theOnlyAsset(damwall: Damwall) {
  const assets = await damwall.assets();
  expect(assets.map((asset) => [asset.id, asset.name, asset.folder, asset.size])).toEqual([
    [`sha256:${sha256}`, "long film.mp4", "takes/monday", statSync(film).size],
  ]);
  return assets[0];
}

test("200 MB go on after a pause, a killed server, a cut connection and a reload", async ({
  page,
}) => {
  test.setTimeout(180_000);
  const damwall = await Damwall.start(LIVE);
  try {
    await uploadThroughEverything(page, damwall);
    await theOnlyAsset(damwall);
    await scrub(page);
    const uploads = join(damwall.dataFolder, "blobs/.damwall-tmp/uploads");
    expect(readdirSync(uploads), "no parts are left").toEqual([]);

    // The same bytes again: nothing is sent.
    await page.goto(`${damwall.url}/assets/upload`);
    await page.getByTestId("upload-files").setInputFiles(film);
    const text = page.getByTestId("upload-text");
    await expect(text).toHaveText("Was in the library already", { timeout: 60_000 });
    await theOnlyAsset(damwall);
  } finally {
    await damwall.stop();
  }
});

test("the same with parts that go straight to an S3 store", async ({ page }) => {
  test.setTimeout(240_000);
  const weed = await Weed.start();
  const damwall = await Damwall.start(`${LIVE}\n${weed.toml}`);
  try {
    await uploadThroughEverything(page, damwall);
    await theOnlyAsset(damwall);
    await scrub(page);
  } finally {
    await damwall.stop();
    await weed.stop();
  }
});

test("a part that has arrived is not sent again when its answer is lost", async ({ page }) => {
  test.setTimeout(90_000);
  const damwall = await Damwall.start(LIVE);
  try {
    let sent = 0;
    const isSecond = (url: URL) => url.searchParams.get("part") === "2";
    await page.route(isSecond, async (route) => {
      sent += 1;
      const { part_size } = await theOnlyUpload(damwall);
      const body = readFileSync(short).subarray(part_size, 2 * part_size);
      const answer = await fetch(route.request().url(), { method: "PUT", body });
      expect(answer.status).toBe(200);
      await route.abort();
    });
    await page.goto(`${damwall.url}/assets/upload`);
    await page.getByTestId("upload-files").setInputFiles(short);
    const row = page.getByTestId("upload");
    await expect(row).toHaveAttribute("data-state", "done", { timeout: 60_000 });
    expect(sent).toBe(1);
  } finally {
    await damwall.stop();
  }
});

test("files chosen before the page came to life are taken, into the folder that was named", async ({
  page,
}) => {
  test.setTimeout(90_000);
  const damwall = await Damwall.start(LIVE);
  try {
    let wake = () => {};
    const awake = new Promise<void>((resolve) => {
      wake = resolve;
    });
    await page.route(/\.wasm$/, async (route) => {
      await awake;
      await route.continue();
    });
    await page.goto(`${damwall.url}/assets/upload`, { waitUntil: "domcontentloaded" });
    await page.getByTestId("upload-folder").fill("early");
    await page.getByTestId("upload-files").setInputFiles(short);
    const row = page.getByTestId("upload");
    await expect(row).toHaveCount(0);
    wake();
    await expect(row).toHaveAttribute("data-state", "done", { timeout: 60_000 });
    expect((await damwall.assets()).map((asset) => asset.folder)).toEqual(["early"]);
  } finally {
    await damwall.stop();
  }
});

test("a file that is no media is refused with a sentence, and can be taken off", async ({
  page,
  damwall,
}) => {
  await page.goto("/assets/upload");
  await page.getByTestId("upload-files").setInputFiles([
    { name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("just text") },
    { name: "empty.jpg", mimeType: "image/jpeg", buffer: Buffer.alloc(0) },
  ]);
  const rows = page.getByTestId("upload");
  await expect(rows).toHaveCount(2);
  await expect(rows.nth(0).getByTestId("upload-text")).toHaveText(
    "It is no picture, video or sound.",
  );
  await expect(rows.nth(1).getByTestId("upload-text")).toContainText("empty file");
  await rows.nth(1).getByTestId("upload-remove").click();
  await rows.nth(0).getByTestId("upload-remove").click();
  await expect(rows).toHaveCount(0);
  const names = (await damwall.assets()).map((asset) => asset.name);
  expect(names).not.toContain("notes.txt");
});

test("an upload that was cancelled leaves nothing", async ({ page }) => {
  test.setTimeout(90_000);
  const damwall = await Damwall.start(LIVE);
  try {
    await page.goto(`${damwall.url}/assets/upload`);
    await throttle(page, 10 * MB);
    await page.getByTestId("upload-files").setInputFiles(film);
    await sentMoreThan(page, 0.05);
    const ended = page.waitForResponse((response) => response.request().method() === "DELETE");
    await page.getByTestId("upload-remove").click();
    expect((await ended).status()).toBe(204);
    await expect(page.getByTestId("upload")).toHaveCount(0);
    const uploads = join(damwall.dataFolder, "blobs/.damwall-tmp/uploads");
    await expect.poll(() => readdirSync(uploads)).toEqual([]);
    expect(await (await fetch(`${damwall.url}/api/uploads`)).json()).toEqual({ items: [] });
  } finally {
    await damwall.stop();
  }
});

/** Has the server's answers say that an upload is being verified until that is let go. */
async function verifying(page: Page) {
  let isOver = false;
  const upload = /\/api\/uploads\/[0-9a-f]+$/;
  await page.route(/\/api\/uploads\/[0-9a-f]+\/complete$/, async (route) => {
    const done = await route.fetch();
    expect(done.status()).toBe(200);
    const told = await page.request.get(route.request().url().replace("/complete", ""));
    await route.fulfill({ status: 202, json: { ...(await told.json()), state: "verifying" } });
  });
  await page.route(upload, async (route) => {
    if (route.request().method() !== "GET" || isOver) return route.fallback();
    const told = await (await route.fetch()).json();
    await route.fulfill({ json: { ...told, state: "verifying" } });
  });
  return {
    refusesToEnd: () =>
      page.route(upload, (route) =>
        route.request().method() === "DELETE" ? route.fulfill({ status: 409 }) : route.fallback(),
      ),
    letGo: () => (isOver = true),
  };
}

test.describe("an upload that is being verified", () => {
  test.use({ expectedErrors: [/status of 409/] });

  test("stays on the page until it is known what becomes of it", async ({ page, damwall }) => {
    const server = await verifying(page);
    await server.refusesToEnd();
    await page.goto("/assets/upload");
    const buffer = await drawn("late.png", "color=c=maroon:s=64x64", "-frames:v", "1");
    const picture = { name: "late.png", mimeType: "image/png", buffer };
    await page.getByTestId("upload-files").setInputFiles(picture);
    const row = page.getByTestId("upload");
    const text = row.getByTestId("upload-text");
    await expect(row).toHaveAttribute("data-state", "verifying", { timeout: 20_000 });
    await row.getByTestId("upload-remove").click();
    await expect(text).toContainText("cannot be cancelled any more");
    server.letGo();
    await expect(text).toHaveText("In the library: it was too late to cancel", { timeout: 20_000 });
    const { id } = (await damwall.assets()).find((asset) => asset.name === "late.png")!;
    await expect(row.getByRole("link")).toHaveAttribute("href", `/assets/${id}`);
    await row.getByTestId("upload-remove").click();
    await expect(row).toHaveCount(0);
  });

  test("that was left by another page is not discarded either", async ({ page }) => {
    const left = {
      ...{ id: "ab".repeat(16), name: "left.mp4", folder: "", size: 10, state: "verifying" },
      ...{ asset_id: `sha256:${"0".repeat(64)}`, part_size: 8 << 20, parts_done: [] },
      created_at: "2026-01-01T00:00:00Z",
    };
    await page.route(/\/api\/uploads$/, (route) => route.fulfill({ json: { items: [left] } }));
    await page.route(/\/api\/uploads\/[0-9a-f]+$/, (route) =>
      route.request().method() === "DELETE"
        ? route.fulfill({ status: 409 })
        : route.fulfill({ json: left }),
    );
    await page.goto("/assets/upload");
    const row = page.getByTestId("unfinished");
    await row.getByTestId("unfinished-abort").click();
    await expect(row).toContainText("It is being checked already");
    await expect(row).toHaveAttribute("data-name", "left.mp4");
  });
});

test.describe("without JavaScript", () => {
  test.use({ javaScriptEnabled: false });

  test("files that are refused do not keep the others out", async ({ page, damwall }) => {
    const buffer = await drawn("a.png", "color=c=purple:s=64x64", "-frames:v", "1");
    await page.goto("/assets/upload");
    await page.getByTestId("upload-files").setInputFiles([
      { name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("just text") },
      { name: "behind notes.png", mimeType: "image/png", buffer },
    ]);
    await page.getByTestId("upload-submit").click();
    await expect(page.getByTestId("upload-refused")).toHaveText(
      "Added 1 file, refused 1. Only pictures, videos and sounds are taken.",
    );
    expect((await damwall.assets()).map((asset) => asset.name)).toContain("behind notes.png");

    await page.getByTestId("upload-folder").fill("../secrets");
    const picture = { name: "a.png", mimeType: "image/png", buffer };
    await page.getByTestId("upload-files").setInputFiles(picture);
    await page.getByTestId("upload-submit").click();
    await expect(page.getByTestId("upload-refused")).toContainText("A folder is names");
  });

  test("a small picture is uploaded by a form", async ({ page, damwall }) => {
    const picture = join(process.env.DAMWALL_TEST_MEDIA!, "..", `form-${Date.now()}.jpg`);
    await Running.toEnd("ffmpeg", [
      ...["-nostdin", "-v", "error", "-f", "lavfi", "-i", "mandelbrot=s=320x240"],
      ...["-frames:v", "1", picture],
    ]);
    await page.goto("/assets/upload");
    await page.getByTestId("upload-folder").fill("by form");
    await page.getByTestId("upload-files").setInputFiles(picture);
    await page.getByTestId("upload-submit").click();
    await expect(page.getByTestId("asset-title")).toContainText("form-");
    const added = (await damwall.assets()).find((asset) => asset.folder === "by form");
    expect(added?.mime).toBe("image/jpeg");
    rmSync(picture);

    await page.goto("/assets/upload");
    await page.getByTestId("upload-submit").click();
    await expect(page.getByTestId("upload-refused")).toHaveText("No file was chosen.");
  });
});
