import { defineConfig } from "@playwright/test";

// The system's Chromium; `cargo xtask setup --for test` brings it.
const chromium = process.env.DAMWALL_TEST_CHROMIUM ?? "/usr/bin/chromium";

export default defineConfig({
  testDir: "tests",
  globalSetup: "./support/global_setup.ts",
  outputDir: "test-results",
  // One server, one camera, one browser at a time: figures of live video mean something then.
  workers: 1,
  fullyParallel: false,
  // A test that passes at the second try has found a fault.
  retries: 0,
  forbidOnly: !!process.env.CI,
  timeout: 60_000,
  expect: { timeout: 10_000 },
  reporter: [["list"]],
  use: {
    browserName: "chromium",
    viewport: { width: 1280, height: 800 },
    // Without pictures, which would be taken of every test, and of video all the time.
    trace: { mode: "retain-on-failure", screenshots: false, snapshots: true, sources: true },
    launchOptions: {
      executablePath: chromium,
      args: [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--autoplay-policy=no-user-gesture-required",
      ],
    },
  },
});
