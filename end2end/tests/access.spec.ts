import { expect, test } from "../support/fixtures";

// Asked of every request, even though this server listens on loopback.
test.use({ serverConfig: "[server]\nrequire_token = true\n" });

const OFFER = { data: "v=0\r\n", headers: { "content-type": "application/sdp" } };

async function tokenOf(damwall: { loginUrl(): Promise<string> }): Promise<string> {
  const token = new URL(await damwall.loginUrl()).searchParams.get("token");
  if (!token) throw new Error("the login URL carries no token");
  return token;
}

test("without a token nothing but health and the login page is served", async ({ request }) => {
  for (const path of ["/", "/assets", "/live", `/assets/${"0".repeat(64)}`]) {
    const response = await request.get(path, {
      headers: { accept: "text/html" },
      maxRedirects: 0,
    });
    expect([302, 303, 307], path).toContain(response.status());
    expect(response.headers()["location"], path).toMatch(/^\/login/);
  }
  for (const path of ["/api/assets", "/api/cameras", `/api/assets/${"0".repeat(64)}/download`]) {
    expect((await request.get(path, { maxRedirects: 0 })).status(), path).toBe(401);
  }
  expect((await request.post("/whep/door", OFFER)).status()).toBe(401);
  expect((await request.delete("/whep/door/none")).status()).toBe(401);
  expect((await request.get("/readyz", { maxRedirects: 0 })).status()).toBe(401);
  expect((await request.get("/healthz")).status()).toBe(200);
  expect((await request.get("/login")).status()).toBe(200);
});

test("a wrong token is refused", async ({ request }) => {
  const headers = { authorization: `Bearer ${"0".repeat(64)}` };
  expect((await request.get("/api/assets", { headers })).status()).toBe(401);
  const cookie = { cookie: `damwall=${"0".repeat(64)}` };
  expect((await request.get("/api/assets", { headers: cookie })).status()).toBe(401);
  await request.get(`/login?token=${"0".repeat(64)}`);
  expect((await request.get("/api/assets")).status()).toBe(401);
});

test("a bearer token opens the API and WHEP", async ({ request, damwall }) => {
  const headers = { authorization: `Bearer ${await tokenOf(damwall)}` };
  expect((await request.get("/api/assets", { headers })).status()).toBe(200);
  expect((await request.get("/api/cameras", { headers })).status()).toBe(200);
  const answer = await request.post("/whep/door", {
    ...OFFER,
    headers: { ...OFFER.headers, ...headers },
  });
  expect(answer.status(), "the offer is read, and refused for what it is").not.toBe(401);
});

test("the printed URL logs in, with a cookie no script can read", async ({ page, damwall }) => {
  await page.goto(await damwall.loginUrl());
  await page.goto("/assets");
  await expect(page.getByTestId("asset-grid")).toBeVisible();

  const cookies = await page.context().cookies();
  expect(cookies).toHaveLength(1);
  expect(cookies[0].httpOnly).toBe(true);
  expect(["Lax", "Strict"]).toContain(cookies[0].sameSite);

  await page.getByRole("button", { name: "Log out" }).click();
  await page.goto("/assets");
  await expect(page).toHaveURL(/\/login/);
});

test("the wall plays for whoever is logged in", async ({ page, damwall }) => {
  await page.goto(await damwall.loginUrl());
  await page.goto("/live");
  await expect(page.getByTestId("camera-tile")).toHaveAttribute("data-state", "playing", {
    timeout: 20_000,
  });
});

test.describe("somebody who was logged out meanwhile", () => {
  test.use({ expectedErrors: [/status of 401/] });

  test("comes back to the page that a form was on", async ({ page, damwall }) => {
    await page.goto(await damwall.loginUrl());
    await page.goto("/assets/collections?from=here");
    await page.context().clearCookies();
    await page.getByTestId("collection-title").fill("Best");
    await page.getByTestId("add-collection").click();
    await expect(page).toHaveURL(/\/login\?next=/);
    await page.getByLabel("Access token").fill(await tokenOf(damwall));
    await page.getByRole("button", { name: "Log in" }).click();
    await expect(page).toHaveURL(/\/assets\/collections\?from=here$/);
  });

  test("comes back to the page that a script was on", async ({ page, damwall }) => {
    await page.goto(await damwall.loginUrl());
    await page.goto("/assets/upload?from=here");
    // The page's code runs.
    await expect(page.getByTestId("upload-submit")).toBeHidden();
    await page.context().clearCookies();
    const picture = { name: "a.jpg", mimeType: "image/jpeg", buffer: Buffer.from("a picture") };
    await page.getByTestId("upload-files").setInputFiles(picture);
    await expect(page).toHaveURL(/\/login\?next=%2Fassets%2Fupload%3Ffrom%3Dhere$/);
  });
});
