// A camera that is not ours: GStreamer's RTSP server.

import { resolve } from "node:path";

import { Running } from "./process";

const SCRIPT = process.env.DAMWALL_TEST_RTSP_SERVER ?? resolve(__dirname, "../rtsp_server.py");

// Five seconds between key frames: whoever has a picture sooner got one that was kept for him.
const GOP_FRAMES = 150;

/** A camera with an address of its own, which can be switched off and on again. */
export class Camera {
  private constructor(
    readonly url: string,
    private running: Running | null,
    private readonly flags: string[],
  ) {}

  /** With these flags of `rtsp_server.py`, which win over what is usual here. */
  static async start(gopFrames = GOP_FRAMES, ...more: string[]): Promise<Camera> {
    const flags = [`--gop=${gopFrames}`, ...more];
    const [running, url] = await Camera.launch(0, flags);
    return new Camera(url, running, flags);
  }

  private static async launch(port: number, flags: string[]): Promise<[Running, string]> {
    const running = Running.start("/usr/bin/python3", [
      SCRIPT,
      `--port=${port}`,
      "--width=640",
      "--height=360",
      "--fps=30",
      ...flags,
    ]);
    const [url] = await running.line(/^rtsp:\/\/\S+$/);
    return [running, url];
  }

  /** Pulls the plug: nobody is told. */
  async off(): Promise<void> {
    await this.running?.kill();
    this.running = null;
  }

  /** Starts it again at the same address. */
  async on(): Promise<void> {
    if (this.running) return;
    const [running] = await Camera.launch(Number(new URL(this.url).port), this.flags);
    this.running = running;
  }

  async stop(): Promise<void> {
    await this.running?.stop();
    this.running = null;
  }
}
