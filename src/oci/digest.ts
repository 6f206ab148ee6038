import { createHash, hash } from 'node:crypto';
import { RegistryError } from './errors.ts';
import { quote } from './quote.ts';

/**
 * The name of a content: `algorithm:hex`, lower case, of an algorithm that this registry can compute.
 * https://github.com/opencontainers/image-spec/blob/main/descriptor.md#digests
 */
export type Digest = string & { readonly __brand: 'Digest' };

export type DigestAlgorithm = 'sha256' | 'sha512';

/** `code` is the leading byte in the database: never change or reuse one. */
const algorithms = {
  sha256: { code: 1, bytes: 32 },
  sha512: { code: 2, bytes: 64 },
} as const satisfies Record<DigestAlgorithm, { code: number; bytes: number }>;

const digestPattern = /^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/;

/** @throws RegistryError digestInvalid, saying what is wrong with the value. */
export function parseDigest(text: string): Digest {
  if (isDigest(text)) return text;
  throw new RegistryError('digestInvalid', {
    message: `${quote(text)} is not a digest: ${whyNoDigest(text)}`,
    detail: { digest: text.slice(0, 200) },
  });
}

export function isDigest(text: string): text is Digest {
  return digestPattern.test(text);
}

function whyNoDigest(text: string): string {
  const colon = text.indexOf(':');
  if (colon < 0) return 'it must look like sha256:<64 hexadecimal digits>';
  const algorithm = text.slice(0, colon);
  if (!isAlgorithm(algorithm)) return unknownAlgorithm(algorithm);
  const encoded = text.slice(colon + 1);
  const length = algorithms[algorithm].bytes * 2;
  if (encoded.length !== length)
    return `${algorithm} has ${length} hexadecimal digits, this has ${encoded.length} characters`;
  return /^[0-9a-fA-F]*$/.test(encoded)
    ? 'its hexadecimal digits must be lower case'
    : 'it holds characters that are no hexadecimal digits';
}

function unknownAlgorithm(text: string): string {
  return `algorithm ${quote(text)} is not supported, use ${Object.keys(algorithms).join(' or ')}`;
}

/** @throws RegistryError digestInvalid */
export function parseDigestAlgorithm(text: string): DigestAlgorithm {
  if (isAlgorithm(text)) return text;
  throw new RegistryError('digestInvalid', {
    message: `digest ${unknownAlgorithm(text)}`,
    detail: { algorithm: text.slice(0, 200) },
  });
}

function isAlgorithm(text: string): text is DigestAlgorithm {
  return text === 'sha256' || text === 'sha512';
}

export function digestAlgorithm(digest: Digest): DigestAlgorithm {
  return digest.startsWith('sha256:') ? 'sha256' : 'sha512';
}

export function digestHex(digest: Digest): string {
  return digest.slice(digest.indexOf(':') + 1);
}

/** As the database keeps it (`bytea`): one byte for the algorithm (1 = sha256, 2 = sha512), then the raw hash. */
export function digestToBytes(digest: Digest): Buffer {
  const { code, bytes } = algorithms[digestAlgorithm(digest)];
  const stored = Buffer.allocUnsafe(1 + bytes);
  stored[0] = code;
  stored.write(digestHex(digest), 1, 'hex');
  return stored;
}

/** @throws Error if the bytes were not made by {@link digestToBytes}: a damaged row, not a client's mistake. */
export function digestFromBytes(stored: Uint8Array): Digest {
  const algorithm = stored[0] === algorithms.sha256.code ? 'sha256' : 'sha512';
  const { code, bytes } = algorithms[algorithm];
  if (stored[0] !== code || stored.length !== 1 + bytes) {
    throw new Error(`not a stored digest: ${stored.length} bytes, the first is ${stored[0]}`);
  }
  const hex = Buffer.from(stored.buffer, stored.byteOffset + 1, bytes).toString('hex');
  return `${algorithm}:${hex}` as Digest;
}

export function digestOf(content: Uint8Array | string, algorithm: DigestAlgorithm = 'sha256'): Digest {
  return `${algorithm}:${hash(algorithm, content, 'hex')}` as Digest;
}

export interface Digester {
  update(chunk: Uint8Array): void;
  /** Of everything so far; may be asked at any time (4 µs), and updates may follow. */
  digest(): Digest;
  readonly bytes: number;
}

export function createDigester(algorithm: DigestAlgorithm): Digester {
  const state = createHash(algorithm);
  let bytes = 0;
  return {
    update(chunk) {
      state.update(chunk);
      bytes += chunk.byteLength;
    },
    digest: () => `${algorithm}:${state.copy().digest('hex')}` as Digest,
    get bytes() {
      return bytes;
    },
  };
}
