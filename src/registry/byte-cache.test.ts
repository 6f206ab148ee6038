import { expect, test } from 'vitest';
import { digestOf } from '../oci/digest.ts';
import { createByteCache } from './byte-cache.ts';

const [a, b] = [Buffer.alloc(1000, 'a'), Buffer.alloc(1000, 'b')];

test('forgets the least recently used content when memory runs out', () => {
  const cache = createByteCache(2000);
  cache.set(digestOf(a), a);
  expect(cache.get(digestOf(a))).toBe(a);
  cache.set(digestOf(b), b);
  expect(cache.get(digestOf(b))).toBe(b);
  expect(cache.get(digestOf(a))).toBeUndefined();
});

test('keeps nothing when it may have no memory, or too little for the content', () => {
  for (const bytesMax of [0, 999]) {
    const cache = createByteCache(bytesMax);
    cache.set(digestOf(a), a);
    expect(cache.get(digestOf(a))).toBeUndefined();
  }
});
