// A player that UDP does not reach.

import { expect, framesMore, test } from "../support/fixtures";
import { tileOf } from "../support/wall";

test.use({ liveConfig: 'udp_addr = "0.0.0.0:0"\ntcp_addr = "0.0.0.0:0"' });

test("a browser without UDP plays over TCP", async ({ page, damwall }) => {
  await damwall.live("door");
  await page.addInitScript(() => {
    const peers: RTCPeerConnection[] = [];
    Object.assign(window, { peers });
    const setRemoteDescription = RTCPeerConnection.prototype.setRemoteDescription;
    RTCPeerConnection.prototype.setRemoteDescription = function (
      this: RTCPeerConnection,
      description: RTCSessionDescriptionInit,
    ) {
      peers.push(this);
      const sdp = description.sdp?.replace(/a=candidate:\S+ 1 udp .*\r\n/g, "");
      return setRemoteDescription.call(this, { type: description.type, sdp });
    } as typeof setRemoteDescription;
  });
  await page.goto("/live?camera=door");
  await framesMore(tileOf(page, "door"), 60);

  const protocols = await page.evaluate(async () => {
    const { peers } = window as unknown as { peers: RTCPeerConnection[] };
    const found: string[] = [];
    for (const peer of peers) {
      const stats = await peer.getStats();
      stats.forEach((report) => {
        if (report.type === "candidate-pair" && report.nominated && report.state === "succeeded") {
          found.push(stats.get(report.remoteCandidateId).protocol);
        }
      });
    }
    return found;
  });
  // It may have nominated more than one pair.
  expect([...new Set(protocols)]).toEqual(["tcp"]);
});
