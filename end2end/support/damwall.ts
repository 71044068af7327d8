// The real program, on a free port, with a data folder of its own.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

import { Running } from "./process";

export const PROGRAM = process.env.DAMWALL_TEST_BIN ?? resolve(__dirname, "../../target/debug/damwall");

export interface AssetRow {
  id: string;
  name: string;
  kind: string;
  mime: string;
  folder: string;
  size: number;
  thumb: { state: "pending" | "ready" | "failed" | "none"; url_320?: string; url_640?: string };
}

export interface JobRow {
  kind: string;
  state: "pending" | "running" | "done" | "failed";
  reason?: string;
}

export interface CameraRow {
  id: string;
  name: string;
  state: "idle" | "connecting" | "live" | "lost";
  reason?: string;
  viewers: number;
  video?: { codec: string; width_px: number; height_px: number };
  audio?: string;
  layers: { rid: string; width_px: number; height_px: number }[];
}

/** A running server. */
export class Damwall {
  private constructor(
    readonly url: string,
    private running: Running,
    private readonly folder: string,
    private readonly args: string[],
  ) {}

  /** Starts a server with this configuration, after importing a folder when there is one. */
  static async start(toml: string, library?: string): Promise<Damwall> {
    const folder = mkdtempSync(join(tmpdir(), "damwall-end2end-"));
    const config = join(folder, "damwall.toml");
    const data = join(folder, "data");
    writeFileSync(config, toml);
    if (library) {
      await Running.toEnd(PROGRAM, ["import", library, "--data-dir", data]);
    }
    const args = ["serve", "--config", config, "--data-dir", data];
    const running = Running.start(PROGRAM, [...args, "--addr", "127.0.0.1:0"]);
    try {
      const [, url] = await running.line(/damwall listening on (http:\/\/\S+)/);
      return new Damwall(url, running, folder, args);
    } catch (error) {
      await running.stop();
      throw error;
    }
  }

  get dataFolder(): string {
    return join(this.folder, "data");
  }

  /** Ends the program at once, as a power cut does. */
  async crash(): Promise<void> {
    await this.running.kill();
  }

  /** Starts it again at the same address, with the same data. */
  async restart(): Promise<void> {
    this.running = Running.start(PROGRAM, [...this.args, "--addr", new URL(this.url).host]);
    await this.running.line(/damwall listening on (http:\/\/\S+)/);
  }

  /** The URL that logs in, which the server prints when a token is needed. */
  async loginUrl(): Promise<string> {
    const [, url] = await this.running.line(/login: (http:\/\/\S+)/);
    return url;
  }

  async assets(): Promise<AssetRow[]> {
    return (await this.json<{ items: AssetRow[] }>("/api/assets?limit=100")).items;
  }

  /** Sends a file as the upload page's form does; resolves to the asset's id. */
  async upload(name: string, bytes: Buffer): Promise<string> {
    const body = new FormData();
    body.set("folder", "");
    body.set("file", new Blob([new Uint8Array(bytes)]), name);
    await fetch(`${this.url}/api/uploads/form`, { method: "POST", body });
    const row = (await this.assets()).find((asset) => asset.name === name);
    if (!row) throw new Error(`${name} was not taken`);
    return row.id;
  }

  /** Waits until no job of an asset waits or runs; resolves to the states they ended in. */
  async jobsOver(id: string): Promise<Record<string, string>> {
    const deadline = Date.now() + 90_000;
    for (;;) {
      const { items } = await this.json<{ items: JobRow[] }>(`/api/jobs?asset=${id}`);
      if (items.length > 0 && items.every(({ state }) => state === "done" || state === "failed")) {
        return Object.fromEntries(items.map(({ kind, state }) => [kind, state]));
      }
      if (Date.now() > deadline) throw new Error(`not over: ${JSON.stringify(items)}`);
      await new Promise((resume) => setTimeout(resume, 100));
    }
  }

  async cameras(): Promise<CameraRow[]> {
    return (await this.json<{ items: CameraRow[] }>("/api/cameras")).items;
  }

  /** Waits until these cameras are live. */
  async live(...ids: string[]): Promise<void> {
    const deadline = Date.now() + 30_000;
    for (;;) {
      const cameras = await this.cameras();
      const is = (id: string) => cameras.find((camera) => camera.id === id)?.state === "live";
      if (ids.every(is)) return;
      if (Date.now() > deadline) throw new Error(`not live: ${JSON.stringify(cameras)}`);
      await new Promise((resume) => setTimeout(resume, 200));
    }
  }

  /** Adds a camera through the API. */
  async addCamera(id: string, url: string, more: object = {}): Promise<void> {
    await this.send("POST", "/api/cameras", { id, url, ...more });
  }

  /** Who keeps a camera's definition: "api" or "config". */
  async managed(id: string): Promise<string> {
    return (await this.json<{ managed: string }>(`/api/cameras/${id}`)).managed;
  }

  /** Gives a camera of the API another source. */
  async changeCamera(id: string, url: string): Promise<void> {
    await this.send("PUT", `/api/cameras/${id}`, { id, url });
  }

  /** Takes it out again; one that is not there is fine. */
  async removeCamera(id: string): Promise<void> {
    await fetch(`${this.url}/api/cameras/${id}`, { method: "DELETE" });
  }

  private async send(method: string, path: string, body: unknown): Promise<void> {
    const response = await fetch(this.url + path, {
      method,
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    if (!response.ok) {
      throw new Error(`${method} ${path} answered ${response.status}: ${await response.text()}`);
    }
  }

  /** Writes another configuration and has it read (SIGHUP). */
  reload(toml: string): void {
    writeFileSync(join(this.folder, "damwall.toml"), toml);
    this.running.signal("SIGHUP");
  }

  /** What the server has printed, for the report of a failed test. */
  log(): string {
    return this.running.lines.join("\n");
  }

  async stop(): Promise<void> {
    await this.running.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }

  private async json<T>(path: string): Promise<T> {
    const response = await fetch(this.url + path);
    if (!response.ok) throw new Error(`GET ${path} answered ${response.status}`);
    return (await response.json()) as T;
  }
}
