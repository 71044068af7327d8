// A real S3 server: SeaweedFS, on ports of its own.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { PROGRAM } from "./damwall";
import { Running } from "./process";

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
    const config = join(folder, "damwall.toml");
    writeFileSync(config, toml);
    const deadline = Date.now() + 30_000;
    for (;;) {
      try {
        const data = join(folder, "probe");
        await Running.toEnd(PROGRAM, ["scan", "--config", config, "--data-dir", data]);
        return new Weed(toml, running, folder);
      } catch (error) {
        if (Date.now() > deadline) {
          await running.kill();
          throw error;
        }
      }
    }
  }

  async stop(): Promise<void> {
    await this.running.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Different ports; SeaweedFS uses each plus 10000 as well. */
async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = [];
  while (ports.length < count) {
    const server = createServer();
    const port = await new Promise<number>((resolve) => {
      server.listen(0, "127.0.0.1", () => resolve((server.address() as { port: number }).port));
    });
    await new Promise((closed) => server.close(closed));
    if (port < 55_000 && !ports.includes(port)) ports.push(port);
  }
  return ports;
}
