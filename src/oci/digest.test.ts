import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  createDigester,
  digestAlgorithm,
  digestFromBytes,
  digestHex,
  digestOf,
  digestToBytes,
  isDigest,
  parseDigest,
  parseDigestAlgorithm,
} from './digest.ts';
import { RegistryError } from './errors.ts';

const algorithm = fc.constantFrom('sha256' as const, 'sha512' as const);

test('known contents have the digests that the standards publish', () => {
  expect(digestOf(Buffer.alloc(0))).toBe('sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
  // The image spec's "empty" descriptor.
  expect(digestOf('{}')).toBe('sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a');
  expect(digestOf('abc', 'sha512')).toBe(
    'sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f',
  );
});

test('every digest survives the way to the database and back', () => {
  fc.assert(
    fc.property(fc.uint8Array(), algorithm, (content, name) => {
      const digest = digestOf(content, name);
      const stored = digestToBytes(digest);
      expect(stored[0]).toBe(name === 'sha256' ? 1 : 2);
      expect(stored.subarray(1)).toEqual(createHash(name).update(content).digest());
      expect(digestFromBytes(stored)).toBe(digest);
      expect(parseDigest(digest)).toBe(digest);
      expect(`${digestAlgorithm(digest)}:${digestHex(digest)}`).toBe(digest);
    }),
  );
});

test('bytes that are no stored digest are refused', () => {
  const stored = digestToBytes(digestOf('x'));
  expect(() => digestFromBytes(stored.subarray(0, 32))).toThrow('not a stored digest');
  expect(() => digestFromBytes(Buffer.concat([Buffer.of(2), stored.subarray(1)]))).toThrow('not a stored digest');
  expect(() => digestFromBytes(Buffer.concat([Buffer.of(0), stored.subarray(1)]))).toThrow('not a stored digest');
  expect(() => digestFromBytes(Buffer.alloc(0))).toThrow('not a stored digest');
});

test.each([
  ['latest', 'must look like sha256:'],
  ['', 'must look like sha256:'],
  ['md5:d41d8cd98f00b204e9800998ecf8427e', 'algorithm "md5" is not supported, use sha256 or sha512'],
  ['constructor:00', 'algorithm "constructor" is not supported'],
  ['sha256:abc', 'sha256 has 64 hexadecimal digits, this has 3 characters'],
  [`sha512:${'0'.repeat(64)}`, 'sha512 has 128 hexadecimal digits, this has 64 characters'],
  [`sha256:${'A'.repeat(64)}`, 'must be lower case'],
  [`sha256:${'g'.repeat(64)}`, 'no hexadecimal digits'],
  [`sha256:${'0'.repeat(64)}\n`, 'this has 65 characters'],
  [`SHA256:${'0'.repeat(64)}`, 'algorithm "SHA256" is not supported'],
])('%j is refused with the reason', (text, reason) => {
  expect(isDigest(text)).toBe(false);
  expect(() => parseDigest(text)).toThrow(reason);
  expect(() => parseDigest(text)).toThrow(expect.objectContaining({ kind: 'digestInvalid' }));
});

test('an algorithm that the registry cannot compute is refused', () => {
  expect(parseDigestAlgorithm('sha512')).toBe('sha512');
  expect(() => parseDigestAlgorithm('sha1')).toThrow(RegistryError);
});

test('a digester tells the digest of every prefix and goes on', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array()), algorithm, (chunks, name) => {
      const digester = createDigester(name);
      const all: Uint8Array[] = [];
      for (const chunk of chunks) {
        digester.update(chunk);
        all.push(chunk);
        expect(digester.digest()).toBe(digestOf(Buffer.concat(all), name));
      }
      expect(digester.bytes).toBe(Buffer.concat(all).length);
    }),
  );
});
