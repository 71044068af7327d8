// EXIF written into a JPEG, as cameras do: a TIFF in the first segment. Source: EXIF 2.32, 4.5 and 4.6.

const ASCII = 2;
const SHORT = 3;
const LONG = 4;
const RATIONAL = 5;

type Entry = { tag: number; type: number; count: number; value: Buffer };

const ascii = (tag: number, text: string): Entry => {
  const value = Buffer.from(`${text}\0`, "latin1");
  return { tag, type: ASCII, count: value.length, value };
};

const short = (tag: number, number: number): Entry => {
  const value = Buffer.alloc(4);
  value.writeUInt16LE(number);
  return { tag, type: SHORT, count: 1, value };
};

const long = (tag: number, number: number): Entry => {
  const value = Buffer.alloc(4);
  value.writeUInt32LE(number);
  return { tag, type: LONG, count: 1, value };
};

/** Numerators, each with its denominator. */
const rational = (tag: number, ...parts: [number, number][]): Entry => {
  const value = Buffer.alloc(parts.length * 8);
  parts.flat().forEach((part, at) => value.writeUInt32LE(part, at * 4));
  return { tag, type: RATIONAL, count: parts.length, value };
};

/** One directory that begins at `offset`, with what does not fit into its entries behind it. */
function directory(offset: number, entries: Entry[]): Buffer {
  const table = Buffer.alloc(2 + entries.length * 12 + 4);
  table.writeUInt16LE(entries.length);
  const behind: Buffer[] = [];
  let at = offset + table.length;
  entries.forEach(({ tag, type, count, value }, index) => {
    const place = 2 + index * 12;
    table.writeUInt16LE(tag, place);
    table.writeUInt16LE(type, place + 2);
    table.writeUInt32LE(count, place + 4);
    if (value.length <= 4) {
      value.copy(table, place + 8);
    } else {
      table.writeUInt32LE(at, place + 8);
      behind.push(value);
      at += value.length;
    }
  });
  return Buffer.concat([table, ...behind]);
}

/** The picture with notes: taken with a Ricoh GR III at 52.5° N, 13.25° W in 1/250 s. */
export function withExif(jpeg: Buffer): Buffer {
  const main = (exif: number, gps: number) => [
    ascii(0x010f, "RICOH"),
    ascii(0x0110, "RICOH GR III"),
    long(0x8769, exif),
    long(0x8825, gps),
  ];
  const exif = [
    rational(0x829a, [1, 250]),
    rational(0x829d, [28, 10]),
    short(0x8827, 400),
    ascii(0x9003, "2024:05:17 18:30:05"),
    ascii(0x9011, "+02:00"),
    rational(0x920a, [183, 10]),
    ascii(0xa434, "GR LENS 18.3mm F2.8"),
  ];
  const gps = [
    ascii(0x0001, "N"),
    rational(0x0002, [52, 1], [30, 1], [0, 1]),
    ascii(0x0003, "W"),
    rational(0x0004, [13, 1], [15, 1], [0, 1]),
  ];
  const exifAt = 8 + directory(8, main(0, 0)).length;
  const gpsAt = exifAt + directory(exifAt, exif).length;
  const tiff = Buffer.concat([
    Buffer.from([0x49, 0x49, 42, 0, 8, 0, 0, 0]),
    directory(8, main(exifAt, gpsAt)),
    directory(exifAt, exif),
    directory(gpsAt, gps),
  ]);
  const head = Buffer.from([0xff, 0xe1, 0, 0]);
  head.writeUInt16BE(2 + 6 + tiff.length, 2);
  return Buffer.concat([jpeg.subarray(0, 2), head, Buffer.from("Exif\0\0"), tiff, jpeg.subarray(2)]);
}
