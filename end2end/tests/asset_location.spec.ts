// Where the configuration allows it, a page says where a picture was taken.

import { expect, test } from "../support/fixtures";
import { withExif } from "../support/exif";
import { drawn } from "../support/media";

test.use({ serverConfig: "[library]\nshow_location = true", hasMedia: false });

test("the place of a picture is shown when the configuration says so", async ({ page, damwall }) => {
  const picture = await drawn("a.jpg", "color=c=teal:s=64x48", "-frames:v", "1");
  const id = await damwall.upload("noted.jpg", withExif(picture));
  await damwall.jobsOver(id);
  await page.goto(`/assets/${id}`);
  await expect(page.getByTestId("metadata")).toContainText("52.50000° N, 13.25000° W");
});
