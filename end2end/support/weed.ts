// A real S3 server: SeaweedFS, on ports of its own.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { PROGRAM } from "./damwall";
import { Running } from "./process";

/** SeaweedFS uses each port plus this for gRPC. */
const GRPC_OFFSET = 10_000;
/** Tries at finding free ports: another process may take one between the look and the start. */
const TRIES = 3;

const IDENTITIES = {
  identities: [
    {
      name: "test",
      actions: ["Admin"],
      credentials: [{ accessKey: "test-access", secretKey: "test-secret" }],
    },
  ],
};

export class Weed {
  private constructor(
    /** `[store]` of a configuration. */
    readonly toml: string,
    private readonly running: Running,
    private readonly folder: string,
  ) {}

  /** Starts a server, and waits until a bucket can be made and listed. */
  static async start(): Promise<Weed> {
    for (let tries = 1; ; tries += 1) {
      const weed = await Weed.launch();
      try {
        await weed.answers();
        return weed;
      } catch (error) {
        await weed.stop();
        if (tries === TRIES) throw error;
      }
    }
  }

  private static async launch(): Promise<Weed> {
    const folder = mkdtempSync(join(tmpdir(), "damwall-weed-"));
    writeFileSync(join(folder, "s3.json"), JSON.stringify(IDENTITIES));
    const [master, volume, filer, s3] = await freePorts(4);
    const running = Running.start(process.env.DAMWALL_TEST_WEED ?? "weed", [
      ...["server", "-s3", "-ip=127.0.0.1", "-master.telemetry=false", `-dir=${folder}`],
      ...["-volume.max=0", "-master.volumeSizeLimitMB=64"],
      ...["-s3.port.iceberg=0", "-s3.port.lance=0", `-s3.config=${join(folder, "s3.json")}`],
      ...[`-master.port=${master}`, `-volume.port=${volume}`],
      ...[`-filer.port=${filer}`, `-s3.port=${s3}`],
    ]);
    const toml = [
      "[store]",
      `endpoint = "http://127.0.0.1:${s3}"`,
      'access_key = "test-access"',
      'secret_key = "test-secret"',
    ].join("\n");
    return new Weed(toml, running, folder);
  }

  private async answers(): Promise<void> {
    const config = join(this.folder, "damwall.toml");
    writeFileSync(config, this.toml);
    const data = join(this.folder, "probe");
    const deadline = Date.now() + 30_000;
    for (;;) {
      try {
        return await Running.toEnd(PROGRAM, ["scan", "--config", config, "--data-dir", data]);
      } catch (error) {
        if (this.running.hasEnded || Date.now() > deadline) throw error;
      }
    }
  }

  async stop(): Promise<void> {
    await this.running.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Different ports that are free together with their gRPC ports. */
async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = [];
  // Held until all are found, so that none is found twice.
  const held: Server[] = [];
  while (ports.length < count) {
    const server = (await listen(0))!;
    held.push(server);
    const { port } = server.address() as { port: number };
    const grpc = await listen(port + GRPC_OFFSET);
    if (!grpc) continue;
    held.push(grpc);
    ports.push(port);
  }
  await Promise.all(held.map((server) => new Promise((closed) => server.close(closed))));
  return ports;
}

/** Listens on a port, any for 0; null if that is not to be had. */
function listen(port: number): Promise<Server | null> {
  if (port > 65_535) return Promise.resolve(null);
  const server = createServer();
  return new Promise((resolve) => {
    server.once("error", () => resolve(null));
    server.listen(port, "127.0.0.1", () => resolve(server));
  });
}
