// Viewers and publishers that share no code with ours, nor with Chromium: aiortc and ffmpeg.

import { execFileSync } from "node:child_process";
import { resolve } from "node:path";

import { expect } from "@playwright/test";

import { Running } from "./process";

/** What aiortc viewers have seen so far, an entry for each of them. */
export interface Report {
  /** Frames of which a packet came, lost packets among them. */
  sent: number[];
  decoded: number[];
  /** RTP packets that were dropped on purpose. */
  lost: number[];
  /** Width and height in pixels of the first viewer's picture. */
  size: [number, number];
}

/** The Python that has aiortc and imageio-ffmpeg; `cargo xtask test` brings it. */
function python(): string {
  const path = process.env.DAMWALL_TEST_PYTHON;
  if (!path) throw new Error("DAMWALL_TEST_PYTHON is not set; run `cargo xtask test`");
  return path;
}

const start = (script: string, args: string[]): Running =>
  Running.start(python(), [resolve(__dirname, "../peers", script), ...args], {
    PYTHONDONTWRITEBYTECODE: "1",
  });

/** aiortc viewers in one process. */
export class AiortcViewers {
  private constructor(private readonly running: Running) {}

  /** Resolves when all are connected. */
  static async watch(url: string, ...flags: string[]): Promise<AiortcViewers> {
    const viewers = new AiortcViewers(start("whep_viewer.py", [...flags, url]));
    await viewers.running.line(/"sent"/, 60_000);
    return viewers;
  }

  /** The newest report. */
  report(): Report {
    const line = this.running.lines.findLast((line) => line.startsWith('{"sent"'));
    return JSON.parse(line!) as Report;
  }

  /** Waits until every viewer has been sent that many frames more than it has now. */
  async sentMore(more: number, timeout: number): Promise<void> {
    const before = this.report().sent;
    const fewest = () => Math.min(...this.report().sent.map((sent, at) => sent - before[at]));
    await expect
      .poll(fewest, { timeout, intervals: [50], message: "frames for the slowest viewer" })
      .toBeGreaterThanOrEqual(more);
  }

  /** Waits until nothing that was sent is still to be counted. */
  async silent(): Promise<void> {
    let before: string;
    await expect
      .poll(
        async () => {
          before = String(this.report().sent);
          await new Promise((resume) => setTimeout(resume, 300));
          return String(this.report().sent) === before;
        },
        { intervals: [0], message: "no more frames" },
      )
      .toBe(true);
  }

  /** The server's figures of the first session. */
  async stats(): Promise<{ packets_retransmitted: number }> {
    this.running.tell("stats");
    const [, json] = await this.running.line(/"stats": (\{.*\})\}$/);
    return JSON.parse(json) as { packets_retransmitted: number };
  }

  /** Ends the sessions; the answer to the first one's DELETE. */
  delete(): Promise<number> {
    return deleteBy(this.running);
  }

  stop(): Promise<void> {
    return this.running.stop();
  }
}

/** An aiortc publisher of that codec, which is connected. */
export async function aiortcPublisher(url: string, codec: string): Promise<Running> {
  const publisher = start("whip_publisher.py", [`--codec=${codec}`, url]);
  await publisher.line(/"state": "connected"/);
  return publisher;
}

/** Has an aiortc peer end its session. */
export async function deleteBy(peer: Running): Promise<number> {
  peer.tell("delete");
  const [, status] = await peer.line(/"deleted": (\d+)/);
  return Number(status);
}

/** ffmpeg with the `whip` muxer, which Debian's is too old for. Publishes a clock and a tone. */
export function ffmpegPublisher(url: string): Running {
  const find = "import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())";
  const ffmpeg = execFileSync(python(), ["-c", find], { encoding: "utf8" }).trim();
  return Running.start(ffmpeg, [
    ...["-hide_banner", "-loglevel", "warning", "-re"],
    ...["-f", "lavfi", "-i", "testsrc2=s=640x360:r=30"],
    ...["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"],
    ...["-c:v", "libx264", "-profile:v", "baseline", "-preset", "ultrafast"],
    ...["-tune", "zerolatency", "-g", "60", "-bf", "0", "-pix_fmt", "yuv420p"],
    ...["-c:a", "libopus", "-ac", "2"],
    ...["-f", "whip", url],
  ]);
}
