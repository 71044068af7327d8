#!/usr/bin/python3
"""An RTSP camera for the tests, made of GStreamer and so independent of Damwall's own RTSP code.

Prints `rtsp://127.0.0.1:PORT/cam` on standard output as soon as it answers, and ends when its
standard input is closed (so that it never outlives the test that started it) or on SIGTERM.

A live picture (a moving ball, a clock and the running time, so that a frozen picture is seen):

    rtsp_server.py --port 0 --width 640 --height 360 --fps 30 --gop 30

The time in the picture, readable by a program, for measuring latency (see TimeCode):

    rtsp_server.py --timecode --width 1280 --height 720

An encoded H.264 clip in a loop, for load (no encoder runs):

    rtsp_server.py --clip clip.mp4

All clients share one pipeline, as they share one sensor in a camera. With `--sub` there is a second,
smaller stream at `/sub`. With `--events` each PLAY and TEARDOWN is a line on standard output.
"""

import argparse
import signal
import subprocess
import sys
import time
from fractions import Fraction

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gio, GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=0, help="TCP port; 0 takes any free one")
    parser.add_argument("--width", type=int, default=640, help="pixels")
    parser.add_argument("--height", type=int, default=360, help="pixels")
    parser.add_argument("--fps", type=int, default=30, help="frames in a second")
    parser.add_argument("--gop", type=int, default=30, help="frames from one key frame to the next")
    parser.add_argument("--kbps", type=int, default=1000, help="bitrate of the live picture")
    parser.add_argument("--user", help="ask for this user name (basic authentication)")
    parser.add_argument("--password", default="", help="and this password")
    parser.add_argument("--clip", help="an MP4 with H.264 in it, served in a loop")
    parser.add_argument("--timecode", action="store_true", help="live, the time in the picture")
    parser.add_argument("--codec", choices=["h264", "h265"], default="h264", help="of the live picture")
    parser.add_argument("--audio", nargs="?", const="alaw", choices=list(AUDIO),
                        help="a second track with a tone, G.711 A-law unless named")  # fmt: skip
    parser.add_argument("--digest", action="store_true", help="digest authentication, not basic")
    parser.add_argument("--tls", metavar="PEM", help="rtsps with this certificate and key")
    parser.add_argument("--sub", action="store_true", help="a second stream of half the size, /sub")
    parser.add_argument("--switch-after", type=float, metavar="SECONDS",
                        help="halve the picture's size in mid-stream")  # fmt: skip
    parser.add_argument("--session-timeout", type=int, metavar="SECONDS",
                        help="end sessions that are not kept alive for so long")  # fmt: skip
    parser.add_argument("--events", action="store_true", help="print each PLAY and TEARDOWN")
    return parser.parse_args()


AUDIO = {
    "alaw": "alawenc ! rtppcmapay name=pay1 pt=8",
    "mulaw": "mulawenc ! rtppcmupay name=pay1 pt=0",
    "opus": "audioconvert ! audioresample ! opusenc ! rtpopuspay name=pay1 pt=97",
    "aac": "audioconvert ! voaacenc ! aacparse ! rtpmp4gpay name=pay1 pt=97",
}

VIDEO = {
    "h264": (
        "x264enc tune=zerolatency speed-preset=ultrafast bitrate={kbps} key-int-max={gop}"
        " ! video/x-h264,profile=baseline ! rtph264pay name=pay0 pt=96 config-interval=-1"
    ),
    "h265": (
        "x265enc tune=zerolatency speed-preset=ultrafast bitrate={kbps} key-int-max={gop}"
        " ! rtph265pay name=pay0 pt=96 config-interval=-1"
    ),
}


def live_launch(args, divisor=1):
    """A picture drawn and encoded while it is watched."""
    video = (
        "videotestsrc is-live=true pattern=ball ! videoscale"
        " ! capsfilter name=size caps=" + size_caps(args, divisor) +
        " ! clockoverlay halignment=left valignment=top shaded-background=true"
        " ! timeoverlay halignment=right valignment=bottom shaded-background=true"
        " ! " + VIDEO[args.codec].format(kbps=args.kbps, gop=args.gop)
    )
    if not args.audio or divisor > 1:
        return f"( {video} )"
    return f"( {video} audiotestsrc is-live=true volume=0.1 ! {AUDIO[args.audio]} )"


def size_caps(args, divisor):
    # Halves stay even.
    width, height = (side // divisor // 2 * 2 for side in (args.width, args.height))
    return f"video/x-raw,format=I420,width={width},height={height},framerate={args.fps}/1"


def halve_later(args):
    """What to do with a live picture that is set up: make it smaller while it plays."""

    def configure(_factory, media):
        size = media.get_element().get_by_name("size")

        def halve():
            size.set_property("caps", Gst.Caps.from_string(size_caps(args, 2)))
            return GLib.SOURCE_REMOVE

        GLib.timeout_add(int(args.switch_after * 1000), halve)

    return configure


def print_events(_server, client):
    for event in ("play", "teardown"):
        client.connect(
            f"{event}-request",
            lambda _client, context, event=event: print(event, context.uri.abspath, flush=True),
        )


def limit_sessions(secs):
    """What to do with a client that connects: its sessions end that soon without a word of it."""

    def limit(_client, session):
        session.set_timeout(secs)
        # Not some seconds later, as the server would by itself.
        session.set_property("extra-timeout", 0)

    return lambda _server, client: client.connect("new-session", limit)


class TimeCode:
    """A live picture whose top edge tells in milliseconds since 1970 when it was taken.

    The layout is that of Damwall's own test picture, see media/src/sansio/time_code.rs. Stamped just
    before the encoder, so that its delay is part of what is measured, of one server's viewers as of
    another's.
    """

    BLOCKS, HEIGHT_PART, START = 64, 16, 0b10101010
    WHITE, BLACK, NEUTRAL = b"\xeb", b"\x10", 0x80
    # Frames of moving picture below the code, drawn once and repeated: drawing costs no time later.
    DRAWN = 60

    def __init__(self, args):
        self.width, self.height, self.fps = args.width, args.height, args.fps
        least = self.BLOCKS * 8
        if self.width < least or self.width % 2 or self.height % 2:
            sys.exit(f"--timecode needs an even size, {least} pixels wide at least")
        # Even, since a row of colour lies under two of luma.
        self.code_height = self.height // self.HEIGHT_PART // 2 * 2
        edges = [block * self.width // self.BLOCKS for block in range(self.BLOCKS + 1)]
        self.block_widths = [right - left for left, right in zip(edges, edges[1:])]
        self.launch = (
            "( appsrc name=units is-live=true do-timestamp=true format=time"
            f" caps=video/x-raw,format=I420,width={self.width},height={self.height},"
            f"framerate={self.fps}/1"
            # One slice a frame: rtph264pay puts parameter sets before every IDR slice, and a decoder
            # takes those in the middle of a picture for the start of another.
            " ! x264enc tune=zerolatency speed-preset=ultrafast threads=1"
            f" bitrate={args.kbps} key-int-max={args.gop}"
            " ! video/x-h264,profile=baseline"
            " ! rtph264pay name=pay0 pt=96 config-interval=-1 )"
        )
        raw = subprocess.run(
            ["ffmpeg", "-v", "error", "-f", "lavfi", "-i",
             f"testsrc2=s={self.width}x{self.height}:r={self.fps}", "-frames:v", str(self.DRAWN),
             "-pix_fmt", "yuv420p", "-f", "rawvideo", "-"],
            check=True, capture_output=True,
        ).stdout  # fmt: skip
        size = self.width * self.height * 3 // 2
        self.below = [self.without_top(raw[at : at + size]) for at in range(0, len(raw), size)]

    def without_top(self, frame):
        """The frame without the luma rows of the code, and without colour under them."""
        luma, quarter = self.width * self.height, self.width * self.height // 4
        chroma_rows = self.width // 2 * (self.code_height // 2)
        below = bytearray(frame[self.width * self.code_height :])
        for plane in (0, quarter):
            at = luma - self.width * self.code_height + plane
            below[at : at + chroma_rows] = bytes([self.NEUTRAL]) * chroma_rows
        return bytes(below)

    def top(self, millis):
        taken = millis.to_bytes(6, "big")
        code = bytes([self.START]) + taken + bytes([sum(taken) % 256])
        bits = f"{int.from_bytes(code, 'big'):0{self.BLOCKS}b}"
        row = b"".join(
            (self.WHITE if bit == "1" else self.BLACK) * width
            for bit, width in zip(bits, self.block_widths)
        )
        return row * self.code_height

    def prepare(self, _factory, media):
        source = media.get_element().get_by_name("units")
        started, pushed = time.monotonic(), 0

        def push_what_is_due():
            nonlocal pushed
            if pushed <= (time.monotonic() - started) * self.fps:
                below = self.below[pushed % len(self.below)]
                frame = Gst.Buffer.new_wrapped(self.top(time.time_ns() // 1_000_000) + below)
                pushed += 1
                if source.emit("push-buffer", frame) != Gst.FlowReturn.OK:
                    return GLib.SOURCE_REMOVE
            return GLib.SOURCE_CONTINUE

        timer = GLib.timeout_add(3, push_what_is_due)
        media.connect("unprepared", lambda _media: GLib.Source.remove(timer))


class Loop:
    """Pushes the access units of an encoded clip for ever, each at its time."""

    LAUNCH = (
        "( appsrc name=units is-live=true do-timestamp=true format=time"
        " caps=video/x-h264,stream-format=byte-stream,alignment=au"
        " ! h264parse config-interval=-1"
        " ! rtph264pay name=pay0 pt=96 config-interval=-1 )"
    )
    DELIMITER = b"\x00\x00\x00\x01\x09"

    def __init__(self, clip):
        rate = subprocess.run(
            ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries",
             "stream=avg_frame_rate", "-of", "csv=p=0", clip],
            check=True, capture_output=True, text=True,
        ).stdout.strip()  # fmt: skip
        self.fps = float(Fraction(rate))
        # Every access unit then opens with a delimiter of its own, which is where we cut.
        stream = subprocess.run(
            ["ffmpeg", "-v", "error", "-i", clip, "-map", "0:v:0", "-c", "copy",
             "-bsf:v", "h264_mp4toannexb,h264_metadata=aud=insert", "-f", "h264", "-"],
            check=True, capture_output=True,
        ).stdout  # fmt: skip
        self.units = [self.DELIMITER + unit for unit in stream.split(self.DELIMITER)[1:]]
        if not self.units:
            sys.exit(f"{clip} holds no H.264 video")

    def prepare(self, _factory, media):
        source = media.get_element().get_by_name("units")
        started, pushed = time.monotonic(), 0

        def push_what_is_due():
            nonlocal pushed
            while pushed <= (time.monotonic() - started) * self.fps:
                unit = Gst.Buffer.new_wrapped(self.units[pushed % len(self.units)])
                pushed += 1
                if source.emit("push-buffer", unit) != Gst.FlowReturn.OK:
                    return GLib.SOURCE_REMOVE
            return GLib.SOURCE_CONTINUE

        timer = GLib.timeout_add(5, push_what_is_due)
        media.connect("unprepared", lambda _media: GLib.Source.remove(timer))


def protect(server, factories, args):
    """Asks for a password, and speaks TLS, as the arguments say."""
    auth = GstRtspServer.RTSPAuth()
    if args.tls:
        auth.set_tls_certificate(Gio.TlsCertificate.new_from_file(args.tls))
        anyone = GstRtspServer.RTSPToken()
        anyone.set_string("media.factory.role", "viewer")
        auth.set_default_token(anyone)
    if args.user:
        auth.set_default_token(None)
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        if args.digest:
            auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
            auth.add_digest(args.user, args.password, token)
        else:
            auth.add_basic(GstRtspServer.RTSPAuth.make_basic(args.user, args.password), token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role("viewer", "media.factory.access", True)
    permissions.add_permission_for_role("viewer", "media.factory.construct", True)
    for factory in factories:
        factory.set_permissions(permissions)


def main():
    args = arguments()
    Gst.init(None)
    loop = GLib.MainLoop()

    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(args.port))

    mounts, factories = server.get_mount_points(), {}

    def mount(path, launch):
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_shared(True)
        factory.set_launch(launch)
        mounts.add_factory(path, factory)
        factories[path] = factory
        return factory

    if args.clip:
        clip = Loop(args.clip)
        mount("/cam", Loop.LAUNCH).connect("media-configure", clip.prepare)
    elif args.timecode:
        code = TimeCode(args)
        mount("/cam", code.launch).connect("media-configure", code.prepare)
    else:
        camera = mount("/cam", live_launch(args))
        if args.switch_after:
            camera.connect("media-configure", halve_later(args))
        if args.sub:
            mount("/sub", live_launch(args, 2))
    if args.user or args.tls:
        protect(server, factories.values(), args)
    if args.events:
        server.connect("client-connected", print_events)
    if args.session_timeout:
        server.connect("client-connected", limit_sessions(args.session_timeout))

    if server.attach(None) == 0:
        sys.exit(f"port {args.port} is in use; choose another with --port, or 0 for any")

    def stop(*_):
        loop.quit()
        return GLib.SOURCE_REMOVE

    def on_stdin(*_):
        if sys.stdin.buffer.raw.read(4096):
            return GLib.SOURCE_CONTINUE
        return stop()

    GLib.unix_signal_add(GLib.PRIORITY_HIGH, signal.SIGTERM, stop)
    GLib.unix_signal_add(GLib.PRIORITY_HIGH, signal.SIGINT, stop)
    GLib.io_add_watch(0, GLib.PRIORITY_DEFAULT, GLib.IOCondition.IN | GLib.IOCondition.HUP, on_stdin)

    # Clients that vanish without TEARDOWN would keep the pipeline running.
    cleanup_secs = 1 if args.session_timeout else 5
    GLib.timeout_add_seconds(cleanup_secs, lambda: server.get_session_pool().cleanup() is not None)

    scheme = "rtsps" if args.tls else "rtsp"
    print(f"{scheme}://127.0.0.1:{server.get_bound_port()}/cam", flush=True)
    loop.run()


if __name__ == "__main__":
    main()
