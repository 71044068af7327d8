"""WHEP viewers made of aiortc: OpenSSL, libsrtp, libavcodec, and not a line of Damwall's.

    whep_viewer.py http://127.0.0.1:8080/whep/door
    whep_viewer.py --viewers 20 --no-decode URL
    whep_viewer.py --lose 0.05 URL

Prints a JSON line for every viewer that connects, then one about all of them ten times a second.
Lines on standard input: `stats` prints the server's figures of the sessions, `delete` ends them.
Ends when that is closed.
"""

import argparse
import asyncio
import json
import random
import sys
from urllib.parse import urljoin

import aiortc.rtcrtpreceiver
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

from whip_http import ask, lines_of_stdin, say

REPORT_EVERY_S = 0.1


class NoDecoder:
    """Swallows frames: for viewers that only count what arrives."""

    def decode(self, _encoded_frame):
        return []


class Wire:
    """What arrives at one viewer, seen before SRTP is opened, and what is lost on the way."""

    def __init__(self, lose, seed):
        self.lose = lose
        self.random = random.Random(seed)
        self.lost = 0
        # Of RTP, whose header is in the clear. A retransmission has the timestamp of its original.
        self.timestamps = set()

    def watch(self, ice):
        receive = ice._recv

        async def receive_what_is_not_lost():
            while True:
                datagram = await receive()
                if self.passes(datagram):
                    return datagram

        ice._recv = receive_what_is_not_lost

    def passes(self, datagram):
        is_rtp = 128 <= datagram[0] < 192 and not 192 <= datagram[1] < 224
        if not is_rtp:
            return True
        self.timestamps.add(datagram[4:8])
        if self.random.random() >= self.lose:
            return True
        self.lost += 1
        return False


class Viewer:
    def __init__(self, url, number, lose):
        self.url, self.number = url, number
        self.session = None
        self.wire = Wire(lose, number)
        self.decoded, self.width, self.height = 0, 0, 0
        self.peer = RTCPeerConnection()

    async def start(self, decode):
        transceiver = self.peer.addTransceiver("video", direction="recvonly")
        self.wire.watch(transceiver.receiver.transport.transport)
        connected = asyncio.Event()

        @self.peer.on("connectionstatechange")
        def _changed():
            say(viewer=self.number, state=self.peer.connectionState)
            if self.peer.connectionState == "connected":
                connected.set()

        if decode:
            self.peer.on("track", lambda track: asyncio.ensure_future(self.count(track)))
        await self.peer.setLocalDescription(await self.peer.createOffer())
        status, headers, answer = await ask(
            "POST", self.url, self.peer.localDescription.sdp, {"content-type": "application/sdp"}
        )
        if status != 201:
            raise SystemExit(f"POST {self.url} answered {status}: {answer}")
        self.session = urljoin(self.url, headers["location"])
        await self.peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        await connected.wait()

    async def count(self, track):
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            self.decoded += 1
            self.width, self.height = frame.width, frame.height


def report(viewers):
    first = viewers[0]
    say(
        sent=[len(viewer.wire.timestamps) for viewer in viewers],
        decoded=[viewer.decoded for viewer in viewers],
        lost=[viewer.wire.lost for viewer in viewers],
        size=[first.width, first.height],
    )


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--viewers", type=int, default=1)
    parser.add_argument("--no-decode", action="store_true")
    parser.add_argument("--lose", type=float, default=0.0, help="share of RTP packets, 0 to 1")
    args = parser.parse_args()
    if args.no_decode:
        aiortc.rtcrtpreceiver.get_decoder = lambda _codec: NoDecoder()

    viewers = [Viewer(args.url, number, args.lose) for number in range(args.viewers)]
    await asyncio.gather(*(viewer.start(not args.no_decode) for viewer in viewers))

    async def report_for_ever():
        while True:
            report(viewers)
            await asyncio.sleep(REPORT_EVERY_S)

    reporting = asyncio.ensure_future(report_for_ever())
    async for command in lines_of_stdin():
        if command == "stats":
            for viewer in viewers:
                _, _, stats = await ask("GET", viewer.session + "/stats")
                say(viewer=viewer.number, stats=json.loads(stats))
        elif command == "delete":
            for viewer in viewers:
                status, _, _ = await ask("DELETE", viewer.session)
                say(viewer=viewer.number, deleted=status)
    reporting.cancel()
    await asyncio.gather(*(viewer.peer.close() for viewer in viewers))


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
