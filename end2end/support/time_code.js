// The time in a picture. Layout: media/src/sansio/time_code.rs.

/** Makes a reader of pictures. Runs in a page, and so names nothing outside of itself. */
function timeReader() {
  const CODE = { blocks: 64, heightPart: 16, start: [1, 0, 1, 0, 1, 0, 1, 0] };
  const canvas = new OffscreenCanvas(CODE.blocks, 1);
  const pixels = canvas.getContext("2d", { willReadFrequently: true });
  // The middle of each block, and nothing of its neighbours.
  pixels.imageSmoothingEnabled = false;

  /** Milliseconds since 1970 that the picture of a `<video>` tells, or null when it tells none. */
  return function timeInPicture(video) {
    const middle = video.videoHeight / CODE.heightPart / 2;
    pixels.drawImage(video, 0, middle, video.videoWidth, 1, 0, 0, CODE.blocks, 1);
    const { data } = pixels.getImageData(0, 0, CODE.blocks, 1);
    const bits = Array.from({ length: CODE.blocks }, (_, block) => {
      const [red, green, blue] = data.subarray(block * 4);
      return red + green + blue > 384 ? 1 : 0;
    });
    if (CODE.start.some((bit, at) => bits[at] !== bit)) return null;
    const bytes = Array.from({ length: 7 }, (_, at) =>
      bits.slice(8 * at + 8, 8 * at + 16).reduce((value, bit) => value * 2 + bit, 0),
    );
    const checksum = bytes.pop();
    if (bytes.reduce((sum, byte) => sum + byte, 0) % 256 !== checksum) return null;
    return bytes.reduce((value, byte) => value * 256 + byte, 0);
  };
}

module.exports = { timeReader };
