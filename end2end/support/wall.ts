// What tests of the wall look at: tiles, peer connections, and what pages ask of their sessions.

import type { Locator, Page, Request } from "@playwright/test";

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

/** What the browser says of the video that a tile's `<video>` receives. */
export interface Inbound {
  id: string;
  bytesReceived: number;
  framesDecoded: number;
  keyFramesDecoded: number;
  freezeCount: number;
  decoderImplementation: string;
  /** As `video/H264`. */
  mimeType: string;
}

/** Of every stream of video that a tile's `<video>` has received, on whichever connection. */
export function inbound(tile: Locator): Promise<Inbound[]> {
  return tile.locator("video").evaluate(async (element) => {
    const stream = (element as HTMLVideoElement).srcObject as MediaStream | null;
    const track = stream?.getVideoTracks()[0];
    const found: Inbound[] = [];
    for (const peer of (window as unknown as { peers: RTCPeerConnection[] }).peers) {
      const receiver = peer.getReceivers().find((one) => one.track === track);
      const report = await receiver?.getStats();
      for (const stats of report?.values() ?? []) {
        if (stats.type !== "inbound-rtp") continue;
        found.push({ ...stats, mimeType: report!.get(stats.codecId)?.mimeType ?? "" });
      }
    }
    return found;
  });
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
