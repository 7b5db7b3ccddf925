/** Single executables: the bytes that make a Node binary run our program, on a small ELF file of the same layout. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeExecutable } from '../config/packaging/single-executable.js';

const FUSE = 'NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2:';
const TYPE = { load: 1, interpreter: 3, note: 4, table: 6 };
const BASE = 0x400000;
const INTERPRETER = '/lib64/ld.so\0';
const SYMBOLS = 'symbols and debug information';

interface Segment {
  readonly type: number;
  readonly place: number;
  readonly address: number;
  readonly fileBytes: number;
  readonly memoryBytes: number;
}

/** Node's layout: table, interpreter, note, data with the fuse, and behind what is loaded the symbols. */
function smallNode({ fuse = `${FUSE}0`, gap = 0 } = {}): Buffer {
  const tableBytes = 56 * 4;
  const interpreterAt = 64 + tableBytes + gap;
  const noteAt = interpreterAt + INTERPRETER.length + 3;
  const elf = Buffer.alloc(0x1000);
  elf.write('\x7fELF\x02\x01', 'latin1');
  elf.writeBigUInt64LE(64n, 32);
  elf.writeUInt16LE(56, 54);
  elf.writeUInt16LE(4, 56);
  elf.writeUInt16LE(9, 60);
  elf.write(INTERPRETER, interpreterAt);
  elf.fill(0xaa, noteAt, noteAt + 68);
  elf.write(fuse, 0x800);
  const segments: readonly (readonly [type: number, place: number, fileBytes: number, memoryBytes: number])[] = [
    [TYPE.table, 64, tableBytes, tableBytes],
    [TYPE.interpreter, interpreterAt, INTERPRETER.length, INTERPRETER.length],
    [TYPE.load, 0, elf.length, 0x23000],
    [TYPE.note, noteAt, 68, 68],
  ];
  for (const [index, [type, place, fileBytes, memoryBytes]] of segments.entries()) {
    const at = 64 + 56 * index;
    elf.writeUInt32LE(type, at);
    for (const [field, value] of [place, BASE + place, BASE + place, fileBytes, memoryBytes].entries()) {
      elf.writeBigUInt64LE(BigInt(value), at + 8 + 8 * field);
    }
  }
  return Buffer.concat([elf, Buffer.from(SYMBOLS)]);
}

function segmentsOf(elf: Buffer): Segment[] {
  return Array.from({ length: elf.readUInt16LE(56) }, (_, index) => {
    const at = 64 + 56 * index;
    const field = (offset: number) => Number(elf.readBigUInt64LE(at + offset));
    const sizes = { fileBytes: field(32), memoryBytes: field(40) };
    return { type: elf.readUInt32LE(at), place: field(8), address: field(16), ...sizes };
  });
}

/** What Node does when it starts (postject-api.h): looks for the note by its name. */
function programIn(elf: Buffer): Buffer {
  const note = segmentsOf(elf).find(({ type }) => type === TYPE.note) ?? assert.fail('no note');
  const bytes = elf.subarray(note.place, note.place + note.fileBytes);
  const nameBytes = bytes.readUInt32LE(0);
  assert.equal(bytes.toString('latin1', 12, 12 + nameBytes), 'NODE_SEA_BLOB\0');
  const begin = 12 + Math.ceil(nameBytes / 4) * 4;
  return bytes.subarray(begin, begin + bytes.readUInt32LE(4));
}

test('the program is found in a note that is loaded behind everything else, and the fuse is set', () => {
  const program = Buffer.from('the program, whose length is no multiple of four!');
  const executable = makeExecutable(smallNode(), program);
  assert.deepEqual(programIn(executable), program);
  assert.ok(executable.includes(`${FUSE}1`) && !executable.includes(`${FUSE}0`));

  const segments = segmentsOf(executable);
  assert.deepEqual(
    segments.map(({ type }) => type),
    [TYPE.table, TYPE.interpreter, TYPE.load, TYPE.load, TYPE.note],
  );
  const [table, interpreter, node, load, note] = segments;
  assert.ok(table && interpreter && node && load && note);
  assert.equal(table.fileBytes, 56 * 5);
  assert.equal(executable.toString('latin1', interpreter.place, interpreter.place + INTERPRETER.length), INTERPRETER);
  assert.equal(interpreter.address, BASE + interpreter.place);
  assert.ok(interpreter.place >= table.place + table.fileBytes);
  assert.ok(load.address >= node.address + node.memoryBytes);
  assert.deepEqual([load.place % 0x10000, load.address % 0x10000], [0, 0]);
  assert.deepEqual({ ...load, type: TYPE.note }, note);
});

test('symbols and the sections that name them are left out', () => {
  const executable = makeExecutable(smallNode(), Buffer.from('program'));
  assert.ok(!executable.includes(SYMBOLS));
  assert.deepEqual([executable.readUInt16LE(60), executable.readBigUInt64LE(40)], [0, 0n]);
});

test('a file that is no Node of this layout is refused', () => {
  const refused: readonly (readonly [Buffer, RegExp])[] = [
    [
      Buffer.from('#!/bin/sh\necho this is no Node, but it has more than 64 bytes, doubtlessly\n'),
      /no little-endian ELF/,
    ],
    [smallNode({ fuse: `${FUSE}1` }), /exactly one fuse/],
    [smallNode({ fuse: `${FUSE}0${FUSE}0` }), /exactly one fuse/],
    [smallNode({ gap: 8 }), /no room/],
    [makeExecutable(smallNode(), Buffer.from('program')), /no room|exactly one/],
  ];
  for (const [node, why] of refused) assert.throws(() => makeExecutable(node, Buffer.from('program')), why);
});
