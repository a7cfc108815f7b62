// Packs pictures into a zip, stored as they are: they are compressed already (APPNOTE.TXT of PKWARE, 4.3).

const table = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n >>> 0;
});

function crc32(bytes) {
  let c = 0xffffffff;
  for (const b of bytes) c = table[(c ^ b) & 0xff] ^ (c >>> 8);
  return (c ^ 0xffffffff) >>> 0;
}

/** A File that is a zip of files; names that come twice get a number. */
export async function zip(files, name) {
  const parts = [];
  const directory = [];
  const used = new Set();
  let offset = 0;
  for (const [i, f] of files.entries()) {
    const unique = used.has(f.name) ? `${i}-${f.name}` : f.name;
    used.add(unique);
    const path = new TextEncoder().encode(unique);
    const data = new Uint8Array(await f.arrayBuffer());
    // Of both headers: flags (UTF-8), method (stored), time, date (1980-01-01), crc, sizes, length of the name.
    const common = (view, at) => {
      view.setUint16(at, 0x0800, true);
      view.setUint16(at + 6, 0x21, true);
      view.setUint32(at + 8, crc32(data), true);
      view.setUint32(at + 12, data.length, true);
      view.setUint32(at + 16, data.length, true);
      view.setUint16(at + 20, path.length, true);
    };
    const head = new DataView(new ArrayBuffer(30));
    head.setUint32(0, 0x04034b50, true);
    head.setUint16(4, 20, true);
    common(head, 6);
    const entry = new DataView(new ArrayBuffer(46));
    entry.setUint32(0, 0x02014b50, true);
    entry.setUint16(4, 20, true);
    entry.setUint16(6, 20, true);
    common(entry, 8);
    entry.setUint32(42, offset, true);
    parts.push(head.buffer, path, data);
    directory.push(entry.buffer, path);
    offset += 30 + path.length + data.length;
  }
  const length = directory.reduce((n, p) => n + p.byteLength, 0);
  const end = new DataView(new ArrayBuffer(22));
  end.setUint32(0, 0x06054b50, true);
  end.setUint16(8, files.length, true);
  end.setUint16(10, files.length, true);
  end.setUint32(12, length, true);
  end.setUint32(16, offset, true);
  return new File([...parts, ...directory, end.buffer], name, { type: "application/zip" });
}
