/**
 * SingleExecutable: puts a program into a Node binary, so that the file runs by itself ("single executable application").
 *
 * Node looks for the program in its own ELF notes (elf(5), PT_NOTE): one named NODE_SEA_BLOB, when the fuse in its data
 * is set. So the result is
 *
 *     Node up to the end of what gets loaded      symbols and debug information come after it, and are left out
 *     one more segment, a note with the program   loaded behind all others, aligned for any page size
 *
 * The header of that segment takes the place of Node's own notes (build id, kernel version), which lie right behind the
 * header table and which nothing needs at run time; the interpreter's name, which also lies there, moves up. Works on the
 * bytes alone, so every machine makes the same file for every architecture.
 */

const NOTE_NAME = 'NODE_SEA_BLOB';
const FUSE = 'NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2:';

/** The largest page of the kernels that we meet (arm64 has 4, 16 and 64 KiB). */
const PAGE_BYTES = 64 * 1024;

/** Offsets and sizes of the file header, 64 bits (elf(5), Elf64_Ehdr). */
const HEADER = { bytes: 64, tableAt: 32, sectionsAt: 40, entryBytes: 54, entries: 56, sections: 60, sectionNames: 62 };
const ENTRY_BYTES = 56;
const TYPE = { load: 1, interpreter: 3, note: 4, table: 6 } as const;
const READABLE = 4;

/** One entry of the program header table (elf(5), Elf64_Phdr). Places are in the file, addresses in memory. */
interface Segment {
  readonly type: number;
  readonly flags: number;
  readonly place: number;
  readonly address: number;
  readonly fileBytes: number;
  readonly memoryBytes: number;
  readonly align: number;
}

/**
 * The executable of a program.
 * @param node Node's binary for the wanted architecture
 * @param program What `node --experimental-sea-config` of the same Node version made of the program
 * @throws {Error} when the binary is not laid out as Node's own releases are
 */
export function makeExecutable(node: Buffer, program: Buffer): Buffer {
  const segments = readSegments(node);
  const loads = segments.filter(({ type }) => type === TYPE.load);
  const loadedBytes = Math.max(...loads.map(({ place, fileBytes }) => place + fileBytes));
  const usedMemory = Math.max(...loads.map(({ address, memoryBytes }) => address + memoryBytes));

  const note = noteOf(program);
  const noteAt = nextPage(loadedBytes);
  const executable = Buffer.alloc(noteAt + note.length);
  node.copy(executable, 0, 0, loadedBytes);
  note.copy(executable, noteAt);
  setFuse(executable.subarray(0, loadedBytes));
  const span = { place: noteAt, address: nextPage(usedMemory), fileBytes: note.length, memoryBytes: note.length };
  writeSegments(executable, segments, [
    { type: TYPE.load, flags: READABLE, align: PAGE_BYTES, ...span },
    { type: TYPE.note, flags: READABLE, align: 4, ...span },
  ]);
  return executable;
}

function readSegments(elf: Buffer): Segment[] {
  const magic = elf.subarray(0, 6).toString('latin1');
  if (magic !== '\x7fELF\x02\x01') throw unfit('it is no little-endian ELF file of 64 bits');
  if (elf.readUInt16LE(HEADER.entryBytes) !== ENTRY_BYTES || fieldAt(elf, HEADER.tableAt) !== HEADER.bytes) {
    throw unfit('its program headers are elsewhere');
  }
  return Array.from({ length: elf.readUInt16LE(HEADER.entries) }, (_, index) => readSegment(elf, entryAt(index)));
}

function readSegment(elf: Buffer, at: number): Segment {
  return {
    type: elf.readUInt32LE(at),
    flags: elf.readUInt32LE(at + 4),
    place: fieldAt(elf, at + 8),
    address: fieldAt(elf, at + 16),
    fileBytes: fieldAt(elf, at + 32),
    memoryBytes: fieldAt(elf, at + 40),
    align: fieldAt(elf, at + 48),
  };
}

/** Replaces the note by `added`, in the room that the interpreter's name and the note had. */
function writeSegments(elf: Buffer, old: readonly Segment[], added: readonly [load: Segment, note: Segment]): void {
  const interpreter = only(old, TYPE.interpreter);
  const note = only(old, TYPE.note);
  const tableEnd = entryAt(old.length);
  const roomEnd = note.place + note.fileBytes;
  const newEnd = entryAt(old.length + 1);
  if (interpreter.place !== tableEnd || note.place < tableEnd || newEnd + interpreter.fileBytes > roomEnd) {
    throw unfit('there is no room behind its program headers');
  }
  const path = Buffer.from(elf.subarray(interpreter.place, interpreter.place + interpreter.fileBytes));
  elf.fill(0, tableEnd, roomEnd);
  path.copy(elf, newEnd);

  const kept = old.filter((segment) => segment !== note).map((segment) => grown(segment, interpreter));
  const lastLoad = kept.findLastIndex(({ type }) => type === TYPE.load);
  const table = [...kept.slice(0, lastLoad + 1), added[0], ...kept.slice(lastLoad + 1), added[1]];
  for (const [index, segment] of table.entries()) writeSegment(elf, entryAt(index), segment);
  elf.writeUInt16LE(table.length, HEADER.entries);
  for (const field of [HEADER.sections, HEADER.sectionNames]) elf.writeUInt16LE(0, field);
  elf.writeBigUInt64LE(0n, HEADER.sectionsAt);
}

/** The table covers one entry more, and the interpreter's name lies one entry further on. */
function grown(segment: Segment, interpreter: Segment): Segment {
  if (segment.type === TYPE.table) {
    const bytes = segment.fileBytes + ENTRY_BYTES;
    return { ...segment, fileBytes: bytes, memoryBytes: bytes };
  }
  if (segment !== interpreter) return segment;
  return { ...segment, place: segment.place + ENTRY_BYTES, address: segment.address + ENTRY_BYTES };
}

function writeSegment(elf: Buffer, at: number, segment: Segment): void {
  const { type, flags, place, address, fileBytes, memoryBytes, align } = segment;
  elf.writeUInt32LE(type, at);
  elf.writeUInt32LE(flags, at + 4);
  const fields = [place, address, address, fileBytes, memoryBytes, align];
  for (const [index, value] of fields.entries()) elf.writeBigUInt64LE(BigInt(value), at + 8 + 8 * index);
}

/** An ELF note (elf(5), Elf64_Nhdr): name and content, each padded to 4 bytes. */
function noteOf(content: Buffer): Buffer {
  const name = padded(Buffer.from(`${NOTE_NAME}\0`));
  const head = Buffer.alloc(12);
  head.writeUInt32LE(NOTE_NAME.length + 1, 0);
  head.writeUInt32LE(content.length, 4);
  return Buffer.concat([head, name, padded(content)]);
}

function setFuse(node: Buffer): void {
  const at = node.indexOf(`${FUSE}0`);
  if (at < 0 || node.includes(`${FUSE}0`, at + 1)) throw unfit('it has not exactly one fuse that is not set');
  node.write('1', at + FUSE.length);
}

function only(segments: readonly Segment[], type: number): Segment {
  const [found, another] = segments.filter((segment) => segment.type === type);
  if (found === undefined || another !== undefined) throw unfit(`it has not exactly one segment of type ${type}`);
  return found;
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);
}

function nextPage(place: number): number {
  return Math.ceil(place / PAGE_BYTES) * PAGE_BYTES;
}

function entryAt(index: number): number {
  return HEADER.bytes + ENTRY_BYTES * index;
}

function fieldAt(elf: Buffer, at: number): number {
  return Number(elf.readBigUInt64LE(at));
}

function unfit(why: string): Error {
  return new Error(`Cannot put the program into this Node: ${why}. Take Node's own release for Linux.`);
}
