import { expect, test } from "../support/fixtures";
import { tileOf } from "../support/wall";

const directives = (policy: string) =>
  new Map(
    policy.split(";").map((part) => {
      const [name, ...values] = part.trim().split(/\s+/);
      return [name, values] as const;
    }),
  );

test("pages allow no inline code, no guessing of types and no leak of addresses", async ({
  request,
}) => {
  for (const path of ["/assets", "/live", "/login"]) {
    const headers = (await request.get(path)).headers();
    const policy = headers["content-security-policy"] ?? "";
    expect(policy, path).not.toBe("");
    for (const [name, values] of directives(policy)) {
      expect(values, `${path}: ${name}`).not.toContain("'unsafe-inline'");
      expect(values, `${path}: ${name}`).not.toContain("'unsafe-eval'");
      expect(values, `${path}: ${name}`).not.toContain("*");
    }
    const ancestors = directives(policy).get("frame-ancestors");
    expect(ancestors, path).toEqual(expect.arrayContaining([expect.stringMatching(/'none'|'self'/)]));
    expect(headers["x-content-type-options"], path).toBe("nosniff");
    expect(headers["referrer-policy"], path).toMatch(/^(no-referrer|same-origin)$/);
  }
});

test("the build's files are named by their content and kept for ever", async ({ request }) => {
  const html = await (await request.get("/assets")).text();
  const files = [...new Set(html.match(/\/pkg\/[\w.-]+\.(?:js|css|wasm)/g) ?? [])];
  const kinds = new Set(files.map((file) => file.split(".").pop()));
  expect([...kinds].sort()).toEqual(["css", "js", "wasm"]);
  for (const file of files) {
    const response = await request.get(file);
    expect(response.status(), file).toBe(200);
    expect(response.headers()["cache-control"], file).toBe("public, max-age=31536000, immutable");
    expect(response.headers()["x-content-type-options"], file).toBe("nosniff");
  }
  const wasm = files.find((file) => file.endsWith(".wasm"))!;
  expect((await request.get(wasm)).headers()["content-type"]).toBe("application/wasm");
});

test("thumbnails are kept, answers about who asks are not", async ({ request, damwall }) => {
  const ready = async () => (await damwall.assets()).find((asset) => asset.thumb.state === "ready");
  await expect.poll(ready, { timeout: 20_000 }).toBeTruthy();
  const thumbnail = await request.get((await ready())!.thumb.url_320!);
  expect(thumbnail.status()).toBe(200);
  expect(thumbnail.headers()["cache-control"]).toContain("immutable");
  for (const path of ["/live", "/api/cameras"]) {
    expect((await request.get(path)).headers()["cache-control"], path).toMatch(/no-store|private/);
  }
  // The library is open here: nothing on this page depends on who asks.
  expect((await request.get("/assets")).headers()["cache-control"]).toContain("s-maxage=60");
});

test("pages raise no complaint of the policy", async ({ page, camera, damwall }) => {
  test.setTimeout(180_000);
  await camera.on();
  await damwall.live("door");
  // A page follows jobs for as long as they run, and is not idle.
  for (const { id } of await damwall.assets()) await damwall.jobsOver(id);
  // A complaint comes when the page loads or does what is complained of, which is to be waited for.
  for (const path of ["/assets", "/login"]) {
    await page.goto(path);
    await expect(page.locator("body")).toBeVisible();
    await page.waitForLoadState("networkidle");
  }
  await page.goto("/live");
  await expect(tileOf(page, "door")).toHaveAttribute("data-state", "playing");
});
