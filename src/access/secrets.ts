/**
 * The secrets that Berth hands out: personal tokens, robots' tokens, sessions and the tokens of one-time links.
 * `bth_`, 36 random characters (214 bits) and 6 of a checksum, so that secret scanners know one without asking anybody.
 */
import { createHash, randomInt } from 'node:crypto';
import { crc32 } from 'node:zlib';

const alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const prefix = 'bth_';
const randomLength = 36;
/** 62^6 holds every CRC32. */
const checksumLength = 6;

/** A secret anywhere in a text, such as a log, whatever stands around it; the checksum is not looked at. */
export const secretPattern = /bth_[0-9A-Za-z]{42}/;

const wholePattern = /^bth_[0-9A-Za-z]{42}$/;

/** A new secret: the text is shown once and never kept, the hash is what the database keeps. */
export function createSecret(): { text: string; hash: string } {
  const random = Array.from({ length: randomLength }, () => alphabet[randomInt(alphabet.length)]).join('');
  const text = prefix + random + checksum(prefix + random);
  return { text, hash: hashOfSecret(text) };
}

/** SHA-256 in lower-case hex. A secret's own randomness makes a salt or a slow hash needless. */
export function hashOfSecret(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/** Whether the text could have been made by `createSecret`: a mistyped or invented one costs no look at the database. */
export function isSecret(text: string): boolean {
  return wholePattern.test(text) && text.endsWith(checksum(text.slice(0, -checksumLength)));
}

/** The CRC32 of an ASCII text in base62, most significant character first. */
function checksum(text: string): string {
  let rest = crc32(text);
  let encoded = '';
  for (let position = 0; position < checksumLength; position += 1) {
    encoded = alphabet[rest % alphabet.length]! + encoded;
    rest = Math.floor(rest / alphabet.length);
  }
  return encoded;
}
