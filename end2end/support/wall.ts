// What tests of the wall look at: tiles, peer connections, and what pages ask of their sessions.

import type { Locator, Page, Request } from "@playwright/test";

import { timeReader } from "./time_code.js";

export const tileOf = (page: Page, camera: string): Locator =>
  page.locator(`[data-testid="camera-tile"][data-camera-id="${camera}"]`);

/** Keeps every peer connection that the page makes from now on. */
export async function keepPeers(page: Page): Promise<void> {
  await page.addInitScript(() => {
    const peers: RTCPeerConnection[] = [];
    const Native = window.RTCPeerConnection;
    class Kept extends Native {
      constructor(config?: RTCConfiguration) {
        super(config);
        peers.push(this);
      }
    }
    window.RTCPeerConnection = Kept;
    (window as unknown as { peers: RTCPeerConnection[] }).peers = peers;
  });
}

/** How many peer connections were made so far. */
export const peersMade = (page: Page): Promise<number> =>
  page.evaluate(() => (window as unknown as { peers: unknown[] }).peers.length);

/** What the browser says of one stream that a tile's `<video>` receives. */
interface Stream {
  id: string;
  ssrc: number;
  bytesReceived: number;
  packetsReceived: number;
  /** As `video/H264`. */
  mimeType: string;
}

/** Of one stream of video. */
export interface Inbound extends Stream {
  framesDecoded: number;
  keyFramesDecoded: number;
  freezeCount: number;
  decoderImplementation: string;
}

/** Of one stream of sound. */
export interface InboundSound extends Stream {
  totalSamplesReceived: number;
  /** Samples made up because no packet came in time. */
  concealedSamples: number;
  /** Over time, the square of how loud it was; 1 is as loud as can be. */
  totalAudioEnergy: number;
  totalSamplesDuration: number;
}

/** Of every stream of video that a tile's `<video>` has received, on whichever connection. */
export const inbound = (tile: Locator): Promise<Inbound[]> => inboundOf(tile, "video");

/** Of every stream of sound. */
export const inboundSound = (tile: Locator): Promise<InboundSound[]> => inboundOf(tile, "audio");

function inboundOf<S extends Stream>(tile: Locator, kind: "audio" | "video"): Promise<S[]> {
  return tile.locator("video").evaluate(async (element, kind) => {
    const stream = (element as HTMLVideoElement).srcObject as MediaStream | null;
    const track = stream?.getTracks().find((track) => track.kind === kind);
    const found: S[] = [];
    for (const peer of (window as unknown as { peers: RTCPeerConnection[] }).peers) {
      const receiver = peer.getReceivers().find((one) => one.track === track);
      const report = await receiver?.getStats();
      for (const stats of report?.values() ?? []) {
        if (stats.type !== "inbound-rtp") continue;
        found.push({ ...stats, mimeType: report!.get(stats.codecId)?.mimeType ?? "" });
      }
    }
    return found;
  }, kind);
}

/** Bytes of video that a tile's `<video>` has received. */
export async function bytesReceived(tile: Locator): Promise<number> {
  return (await inbound(tile)).reduce((bytes, stats) => bytes + stats.bytesReceived, 0);
}

/** Size of the picture that plays. */
export const pictureSize = (tile: Locator): Promise<string> =>
  tile.locator("video").evaluate((element) => {
    const video = element as HTMLVideoElement;
    return `${video.videoWidth}x${video.videoHeight}`;
  });

/** What a frame's picture tells of the time, if anything, and when it was shown; milliseconds since 1970. */
export interface FrameTime {
  taken: number | null;
  shown: number;
}

/** Of the next frames of a tile. */
export async function frameTimes(tile: Locator, count: number): Promise<FrameTime[]> {
  // As text, which the policy of our pages does not forbid.
  await tile.page().evaluate(`window.timeReader = ${timeReader}`);
  return tile.locator("video").evaluate((element, count) => {
    const video = element as HTMLVideoElement;
    type Reader = (video: HTMLVideoElement) => number | null;
    const read = (window as unknown as { timeReader: () => Reader }).timeReader();
    const times: FrameTime[] = [];
    return new Promise<FrameTime[]>((resolve) => {
      const onFrame = () => {
        times.push({ taken: read(video), shown: Date.now() });
        if (times.length === count) resolve(times);
        else video.requestVideoFrameCallback(onFrame);
      };
      video.requestVideoFrameCallback(onFrame);
    });
  }, count);
}

/** Requests to sessions, in order, as `POST door layer {"mediaId":"0"}`. */
export function sessionRequests(page: Page): string[] {
  const seen: string[] = [];
  page.on("request", (request: Request) => {
    const parts = new URL(request.url()).pathname.split("/").slice(1);
    if (parts[0] !== "whep") return;
    const [, camera, , what] = parts;
    const body = what ? (request.postData() ?? "") : "";
    seen.push([request.method(), camera, what ?? "", body].filter(Boolean).join(" "));
  });
  return seen;
}
