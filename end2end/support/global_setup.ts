// Once before all tests: the media folder, which every worker imports.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { makeMedia } from "./media";

export default async function globalSetup() {
  const folder = mkdtempSync(join(tmpdir(), "damwall-media-"));
  await makeMedia(folder);
  process.env.DAMWALL_TEST_MEDIA = folder;
  return () => rmSync(folder, { recursive: true, force: true });
}
