/** Passwords as argon2id PHC strings, by Node's own argon2. */
import { argon2, randomBytes, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';

const argon2Async = promisify(argon2);

/** OWASP's second choice of parameters for argon2id: 19 MiB, two passes; 36 ms on the machine it was measured on. */
const current = { memory: 19_456, passes: 2, parallelism: 1 } as const;
const saltBytes = 16;
const tagBytes = 32;

interface Parameters {
  readonly memory: number;
  readonly passes: number;
  readonly parallelism: number;
}

function derive(password: string, salt: Buffer, parameters: Parameters, tagLength: number): Promise<Buffer> {
  return argon2Async('argon2id', { message: Buffer.from(password), nonce: salt, tagLength, ...parameters });
}

/** Hashes a password with a new salt. Takes tens of milliseconds on a thread of libuv's pool. */
export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(saltBytes);
  const tag = await derive(password, salt, current, tagBytes);
  const b64 = (bytes: Buffer): string => bytes.toString('base64').replace(/=+$/, '');
  return `$argon2id$v=19$m=${current.memory},t=${current.passes},p=${current.parallelism}$${b64(salt)}$${b64(tag)}`;
}

const phcPattern = /^\$argon2id\$v=19\$m=(\d+),t=(\d+),p=(\d+)\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$/;

/** Whether the password is the one that was hashed, with whatever parameters it was hashed. */
export async function verifyPassword(password: string, phc: string): Promise<boolean> {
  const match = phcPattern.exec(phc);
  if (match === null) throw new Error('a stored password hash is not an argon2id PHC string');
  const expected = Buffer.from(match[5]!, 'base64');
  const parameters = { memory: Number(match[1]), passes: Number(match[2]), parallelism: Number(match[3]) };
  const actual = await derive(password, Buffer.from(match[4]!, 'base64'), parameters, expected.length);
  return timingSafeEqual(actual, expected);
}

let dummyHash: Promise<string> | undefined;

/** Takes as long as verifying a real password: for accounts that do not exist, so that timing does not tell which do. */
export async function verifyNothing(password: string): Promise<false> {
  dummyHash ??= hashPassword(randomBytes(16).toString('hex'));
  // One that failed is made again: otherwise unknown accounts would fail differently from then on.
  dummyHash.catch(() => (dummyHash = undefined));
  await verifyPassword(password, await dummyHash);
  return false;
}

/** A password that nobody has to think up: 24 characters, 120 bits. */
export function generatePassword(): string {
  const alphabet = 'abcdefghijkmnpqrstuvwxyz23456789';
  return [...randomBytes(24)].map((byte) => alphabet[byte % 32]).join('');
}
