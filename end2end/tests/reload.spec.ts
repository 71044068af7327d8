// Cameras that come, change and go while the server runs: by SIGHUP and by REST, on the real process.

import { Damwall } from "../support/damwall";
import { expect, framesMore, test } from "../support/fixtures";
import { inbound, keepPeers, peersMade, sessionRequests, tileOf } from "../support/wall";

const camera = (id: string) => `[[cameras]]\nid = "${id}"\nurl = "test:64x64"\n`;
const live = '[live]\nudp_addr = "127.0.0.1:0"\n';

// A server of its own: the others go on with theirs.
test("SIGHUP takes the cameras of the changed file, and a mistake changes nothing", async () => {
  const damwall = await Damwall.start(live + camera("one"));
  const ids = async () => (await damwall.cameras()).map((row) => row.id).join(" ");
  try {
    expect(await ids()).toBe("one");
    damwall.reload(live + camera("one") + camera("two"));
    await expect.poll(ids).toBe("one two");
    damwall.reload(live + camera("two") + "[[cameras]]\n");
    await expect.poll(() => damwall.log()).toContain("SIGHUP: nothing is changed");
    expect(await ids()).toBe("one two");
    damwall.reload(live + camera("two"));
    await expect.poll(ids).toBe("two");
  } finally {
    await damwall.stop();
  }
});

test("other cameras come, change and go under a viewer who notices nothing", async ({ page }) => {
  test.setTimeout(90_000);
  const door = '[[cameras]]\nid = "door"\nurl = "test:320x180"\n';
  const damwall = await Damwall.start(live + door);
  const size = async (id: string) => {
    const row = (await damwall.cameras()).find((row) => row.id === id);
    return row?.state === "live" && row.video ? `${row.video.width_px}x${row.video.height_px}` : "";
  };
  const ids = async () => (await damwall.cameras()).map((row) => row.id).join(" ");
  const becomes = (of: () => Promise<string>, what: string) =>
    expect.poll(of, { timeout: 20_000 }).toBe(what);
  try {
    await damwall.live("door");
    await keepPeers(page);
    const requests = sessionRequests(page);
    await page.goto(`${damwall.url}/live?camera=door`);
    const tile = tileOf(page, "door");
    await framesMore(tile, 15);
    const [before] = await inbound(tile);

    await damwall.addCamera("yard", "test:64x64");
    await becomes(() => size("yard"), "64x64");
    await framesMore(tile, 15);
    await damwall.changeCamera("yard", "test:128x128");
    await becomes(() => size("yard"), "128x128");
    await framesMore(tile, 15);
    await damwall.removeCamera("yard");
    await becomes(ids, "door");
    await framesMore(tile, 15);

    damwall.reload(live + door + camera("two"));
    await becomes(() => size("two"), "64x64");
    await framesMore(tile, 15);
    damwall.reload(live + door + camera("two").replace("64x64", "128x128"));
    await becomes(() => size("two"), "128x128");
    await framesMore(tile, 15);
    damwall.reload(live + door);
    await becomes(ids, "door");
    await framesMore(tile, 15);

    expect(await peersMade(page), "the connection it had").toBe(1);
    expect(requests.filter((request) => /^(POST|PATCH|DELETE) door$/.test(request))).toEqual([
      "POST door",
    ]);
    const [after, ...others] = await inbound(tile);
    expect(others).toEqual([]);
    expect(after.id, "the same stream").toBe(before.id);
    expect((await damwall.cameras())[0].viewers).toBe(1);
  } finally {
    // It would complain that the server is gone.
    await page.goto("about:blank");
    await damwall.stop();
  }
});
