// One Chromium, one viewer at a time, the servers taking turns:
//
//   node browser.mjs first-frame|glass-to-glass <runs> <file.json> NAME=WHEP_URL…
//
// Prints a Markdown table and writes every run into the file, with ratios and bars. `cargo xtask bench
// live --browser` starts the servers and the camera.
//
// first-frame: from the offer to the first frame shown, at a random moment of the camera's GOP, and
// freezes in the 5 s after. glass-to-glass: the camera's picture tells when it was taken (`TimeCode` in
// end2end/rtsp_server.py); each frame shown is compared with the clock of the same machine.

import { writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";

const require = createRequire(new URL("../end2end/package.json", import.meta.url));
const { chromium } = require("@playwright/test");
const { timeReader } = require("./support/time_code.js");

const WATCH_MS = 5_000;
const GOP_MS = 5_000;
const SETTLE_MS = 3_000;
const RUN_TIMEOUT_MS = 60_000;

const [what, runsText, file, ...servers] = process.argv.slice(2);
const runs = Number(runsText);
if (!["first-frame", "glass-to-glass"].includes(what) || !(runs > 0) || servers.length === 0) {
  console.error("usage: node browser.mjs first-frame|glass-to-glass <runs> <file.json> NAME=WHEP_URL…");
  process.exit(2);
}

/** The least a player can be; runs in the page. */
async function watch({ whep, watchMs, settleMs }) {
  const video = Object.assign(document.createElement("video"), {
    muted: true,
    autoplay: true,
    playsInline: true,
  });
  document.body.replaceChildren(video);
  const timeInPicture = window.timeReader();

  const peer = new RTCPeerConnection();
  const transceiver = peer.addTransceiver("video", { direction: "recvonly" });
  peer.ontrack = ({ track }) => (video.srcObject = new MediaStream([track]));
  await peer.setLocalDescription(await peer.createOffer());

  // Both clocks of the page, brought together once: performance.now() does not follow a clock that is set.
  const origin = Date.now() - performance.now();
  const latencies = [];
  let unread = 0;
  const posted = performance.now();
  let settled = Infinity;
  const firstFrame = new Promise((resolve) => {
    const onFrame = (_now, { expectedDisplayTime }) => {
      if (settled === Infinity) {
        const at = performance.now();
        settled = at + settleMs;
        resolve(at - posted);
      } else if (performance.now() >= settled) {
        const taken = timeInPicture(video);
        if (taken === null) unread += 1;
        else latencies.push(origin + expectedDisplayTime - taken);
      }
      video.requestVideoFrameCallback(onFrame);
    };
    video.requestVideoFrameCallback(onFrame);
  });

  const response = await fetch(whep, {
    method: "POST",
    headers: { "Content-Type": "application/sdp" },
    body: peer.localDescription.sdp,
  });
  if (response.status !== 201) throw new Error(`${response.status} ${await response.text()}`);
  await peer.setRemoteDescription({ type: "answer", sdp: await response.text() });
  const timeout = new Promise((_, reject) =>
    setTimeout(() => reject(new Error("no frame in 20 s")), 20_000),
  );
  const firstFrameMs = await Promise.race([firstFrame, timeout]);
  await new Promise((resolve) => setTimeout(resolve, settleMs + watchMs));

  const stats = [...(await transceiver.receiver.getStats()).values()];
  const inbound = stats.find((entry) => entry.type === "inbound-rtp");
  const transport = stats.find((entry) => entry.type === "transport");
  const location = response.headers.get("Location");
  if (location) await fetch(new URL(location, whep), { method: "DELETE" });
  peer.close();
  video.remove();
  return {
    firstFrameMs,
    latencies,
    unread,
    freezes: inbound.freezeCount,
    framesDecoded: inbound.framesDecoded,
    framesDropped: inbound.framesDropped,
    keyFramesDecoded: inbound.keyFramesDecoded,
    packetsLost: inbound.packetsLost,
    jitterBufferMs: (inbound.jitterBufferDelay / inbound.jitterBufferEmittedCount) * 1000,
    srtpCipher: transport?.srtpCipher,
  };
}

function percentile(values, percent) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(1, Math.ceil((percent / 100) * sorted.length)) - 1];
}

const told = ({ firstFrameMs, freezes, latencies, unread }) =>
  `first frame ${ms(firstFrameMs)} ms, ${freezes} freezes` +
  (latencies.length > 0 ? `, latency ${ms(percentile(latencies, 50))} ms, ${unread} unread` : "");
const ms = (value) => (value === undefined ? "–" : value.toFixed(0));
const sum = (values) => values.reduce((a, b) => a + b, 0);

const browser = await chromium.launch({
  executablePath: process.env.DAMWALL_TEST_CHROMIUM ?? "/usr/bin/chromium",
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
});
const found = Object.fromEntries(servers.map((server) => [server.split("=")[0], []]));
try {
  const pages = [];
  for (const server of servers) {
    const whep = server.slice(server.indexOf("=") + 1);
    const page = await (await browser.newContext()).newPage();
    page.on("pageerror", (error) => console.error(`  ${server}: ${error}`));
    // A page of the server's own origin, so that neither CORS nor a policy of its pages is in the way.
    const address = new URL("/bench.html", whep).href;
    await page.route(address, (route) =>
      route.fulfill({ contentType: "text/html", body: "<!doctype html><body></body>" }),
    );
    await page.addInitScript(`window.timeReader = ${timeReader}`);
    await page.goto(address);
    pages.push({ name: server.split("=")[0], whep, page });
  }
  // The first run warms the browser up and is not counted; a camera may not be live yet either.
  for (let run = 0; run <= runs; run += 1) {
    for (const { name, whep, page } of pages) {
      await sleep(Math.random() * GOP_MS);
      const settleMs = what === "glass-to-glass" ? SETTLE_MS : 0;
      await page.bringToFront();
      const outcome = await Promise.race([
        page.evaluate(watch, { whep, watchMs: WATCH_MS, settleMs }),
        sleep(RUN_TIMEOUT_MS).then(() => ({ failed: "the page hangs" })),
      ]).catch((error) => ({ failed: error.message.split("\n")[0] }));
      console.error(`  ${name} ${run}: ${outcome.failed ?? told(outcome)}`);
      if (outcome.failed) await page.reload();
      if (run > 0) found[name].push(outcome);
    }
  }
} finally {
  await browser.close();
}

/** Every server with the runs that came to an end, and how many there were. */
const ended = Object.entries(found).map(([name, outcomes]) => {
  const good = outcomes.filter((outcome) => !outcome.failed);
  const failed = outcomes.length - good.length;
  return [name, good, failed > 0 ? `${outcomes.length} (${failed} failed)` : `${outcomes.length}`];
});

const PEER = "go2rtc";
const firstFrames = (outcomes) => outcomes.map((outcome) => outcome.firstFrameMs);
const latencies = (outcomes) => outcomes.flatMap((outcome) => outcome.latencies);
const freezes = (outcomes) => sum(outcomes.map((outcome) => outcome.freezes));

/** What was hoped for of a server beside the other, and whether it came so. */
function barsOf(server, outcomes) {
  const [, theirs] = ended.find(([name]) => name === PEER) ?? [];
  if (server === PEER || outcomes.length === 0) return [];
  const figures = what === "first-frame" ? firstFrames : latencies;
  const p95 = percentile(figures(outcomes), 95);
  const bars = [];
  const bar = (name, value, atMost) =>
    bars.push({ server, what: name, found: value, at_most: atMost, is_met: value <= atMost });
  if (theirs?.length > 0) {
    bar(`p95 of ${PEER}'s`, p95 / percentile(figures(theirs), 95), 1);
  }
  if (what === "first-frame") {
    bar("p95 ms", p95, 300);
    bar("freezes", freezes(outcomes), 0);
    bar("failed runs", found[server].length - outcomes.length, 0);
  }
  return bars;
}

const bars = ended.flatMap(([name, outcomes]) => barsOf(name, outcomes));
writeFileSync(file, JSON.stringify({ runs: found, bars }, null, 1));

const short = (value) => String(Math.round(value * 100) / 100);
const barsTold = (server) =>
  bars
    .filter((bar) => bar.server === server)
    .map(
      ({ what: name, found: value, at_most, is_met }) =>
        `${name} ${short(value)} ≤ ${at_most}, ${is_met ? "met" : "**missed**"}`,
    )
    .join("; ");

if (what === "first-frame") {
  console.log(
    "| server | runs | first frame ms p50 / p95 / max | runs with a freeze in 5 s | freezes | SRTP | bar |\n" +
      "|---|---|---|---|---|---|---|",
  );
  for (const [name, outcomes, count] of ended) {
    const times = firstFrames(outcomes);
    const frozen = outcomes.filter((outcome) => outcome.freezes > 0);
    console.log(
      `| ${name} | ${count} | ${ms(percentile(times, 50))} / ${ms(percentile(times, 95))} ` +
        `/ ${ms(Math.max(...times))} | ${frozen.length} | ${freezes(outcomes)} ` +
        `| ${outcomes[0]?.srtpCipher} | ${barsTold(name)} |`,
    );
  }
} else {
  console.log(
    "| server | runs | frames | glass to glass ms p50 / p95 | of it Chromium's jitter buffer ms | freezes " +
      "| code unreadable | bar |\n|---|---|---|---|---|---|---|---|",
  );
  for (const [name, outcomes, count] of ended) {
    const all = latencies(outcomes);
    const buffer = outcomes.map((outcome) => outcome.jitterBufferMs);
    console.log(
      `| ${name} | ${count} | ${all.length} | ${ms(percentile(all, 50))} / ` +
        `${ms(percentile(all, 95))} | ${ms(percentile(buffer, 50))} ` +
        `| ${freezes(outcomes)} | ${sum(outcomes.map((outcome) => outcome.unread))} ` +
        `| ${barsTold(name)} |`,
    );
  }
}
