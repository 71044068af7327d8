// A small folder of pictures and a film, drawn by ffmpeg.

import { mkdirSync, mkdtempSync, readFileSync, rmSync, utimesSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Running } from "./process";

/** How many files [`makeMedia`] makes. */
export const MEDIA_FILES = 9;
/** How long its film is. */
export const FILM_SECS = 40;
/** When its portrait was taken; everything else is of today. */
export const PORTRAIT_DAY = "2024-05-17";

/** Fills a new folder. */
export async function makeMedia(folder: string): Promise<void> {
  for (const below of ["holidays", "people"]) mkdirSync(join(folder, below), { recursive: true });
  const draw = (graph: string, ...output: string[]) =>
    Running.toEnd("ffmpeg", ["-nostdin", "-v", "error", "-f", "lavfi", "-i", graph, ...output]);
  const still = (name: string, graph: string) => draw(graph, "-frames:v", "1", join(folder, name));

  await Promise.all([
    still("bars.png", "smptebars=s=640x360"),
    still("card.jpg", "testsrc2=s=1280x720"),
    still("people/portrait.jpg", "testsrc2=s=480x800"),
    still("small.png", "testsrc=s=64x64"),
    still("wide & odd name.jpg", "smptehdbars=s=1600x400"),
  ]);
  await Promise.all([
    still("holidays/blue.jpg", "color=c=blue:s=640x480"),
    still("holidays/green.jpg", "color=c=green:s=640x480"),
    still("holidays/red.png", "color=c=red:s=640x480"),
    // Noise keeps it big, so that a seek has to fetch; a key frame a second keeps the seek short.
    draw(
      `testsrc2=s=640x360:r=25:d=${FILM_SECS},noise=alls=30:allf=t`,
      ...["-c:v", "libx264", "-preset", "ultrafast", "-crf", "26", "-g", "25"],
      ...["-pix_fmt", "yuv420p", "-movflags", "+faststart"],
      join(folder, "film.mp4"),
    ),
  ]);
  const taken = new Date(`${PORTRAIT_DAY}T12:00:00Z`);
  utimesSync(join(folder, "people/portrait.jpg"), taken, taken);
}

/** One file that ffmpeg draws or sounds; its name's end says what it is. */
export async function drawn(name: string, graph: string, ...output: string[]): Promise<Buffer> {
  const folder = mkdtempSync(join(tmpdir(), "damwall-drawn-"));
  try {
    const path = join(folder, name);
    await Running.toEnd("ffmpeg", [
      ...["-nostdin", "-v", "error", "-f", "lavfi", "-i", graph],
      ...output,
      path,
    ]);
    return readFileSync(path);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
