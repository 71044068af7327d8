"""A WHIP publisher made of aiortc: a moving bar, in H.264 unless another codec is named.

    whip_publisher.py http://127.0.0.1:8080/whip/studio
    whip_publisher.py --codec VP8 URL

Prints a JSON line when it is connected. The line `delete` on standard input ends its session. Ends
when that is closed.
"""

import argparse
import asyncio
import sys
from urllib.parse import urljoin

from aiortc import RTCPeerConnection, RTCRtpSender, RTCSessionDescription, VideoStreamTrack
from av import VideoFrame

from whip_http import ask, lines_of_stdin, say


class MovingBar(VideoStreamTrack):
    """30 frames a second, a white bar on grey that goes from left to right."""

    WIDTH, HEIGHT, BAR = 640, 360, 32
    WHITE, GREY = b"\xeb", b"\x80"

    async def recv(self):
        pts, time_base = await self.next_timestamp()
        frame = VideoFrame(self.WIDTH, self.HEIGHT, "yuv420p")
        at = pts // 3000 * 8 % (self.WIDTH - self.BAR)
        row = self.GREY * at + self.WHITE * self.BAR + self.GREY * (self.WIDTH - self.BAR - at)
        for plane, rows in zip(frame.planes, (row, None, None)):
            line = (rows or self.GREY * plane.width).ljust(plane.line_size, self.GREY)
            plane.update(line * plane.height)
        frame.pts, frame.time_base = pts, time_base
        return frame


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--codec", default="H264")
    args = parser.parse_args()
    url = args.url

    peer = RTCPeerConnection()
    peer.on("connectionstatechange", lambda: say(state=peer.connectionState))
    transceiver = peer.addTransceiver(MovingBar(), direction="sendonly")
    codecs = RTCRtpSender.getCapabilities("video").codecs
    # The server would take its H.264 of all that it offers.
    wanted = f"video/{args.codec}"
    transceiver.setCodecPreferences([one for one in codecs if one.mimeType == wanted])
    await peer.setLocalDescription(await peer.createOffer())
    status, headers, answer = await ask(
        "POST", url, peer.localDescription.sdp, {"content-type": "application/sdp"}
    )
    if status != 201:
        raise SystemExit(f"POST {url} answered {status}: {answer}")
    await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    async for command in lines_of_stdin():
        if command == "delete":
            deleted, _, _ = await ask("DELETE", urljoin(url, headers["location"]))
            say(deleted=deleted)
    await peer.close()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
