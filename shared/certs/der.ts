/**
 * DER: decides how the few ASN.1 elements that we read of a certificate are found (ITU-T X.690). Lengths are checked
 * against the bytes that are there; nothing is copied. Pure functions; own nothing.
 */

export interface DerElement {
  readonly tag: number;
  readonly content: Buffer;
  /** Where the next element begins. */
  readonly end: number;
}

/** The element at `offset`. @throws {RangeError} when the bytes are no element. */
export function readElement(bytes: Buffer, offset: number): DerElement {
  const tag = bytes.readUInt8(offset);
  const first = bytes.readUInt8(offset + 1);
  const lengthBytes = first < 0x80 ? 0 : first & 0x7f;
  if (lengthBytes > 4 || first === 0x80) throw new RangeError('length of an element is out of range');
  const length = lengthBytes === 0 ? first : bytes.readUIntBE(offset + 2, lengthBytes);
  const begin = offset + 2 + lengthBytes;
  const end = begin + length;
  if (end > bytes.length) throw new RangeError('an element is longer than its surroundings');
  return { tag, content: bytes.subarray(begin, end), end };
}

/** All elements of a constructed element's content. @throws {RangeError} when the bytes are no elements. */
export function readElements(content: Buffer): DerElement[] {
  const elements: DerElement[] = [];
  for (let offset = 0; offset < content.length; ) {
    const element = readElement(content, offset);
    elements.push(element);
    offset = element.end;
  }
  return elements;
}
