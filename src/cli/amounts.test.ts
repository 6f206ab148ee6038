import { expect, test } from 'vitest';
import { sizeOf, timeOf } from './amounts.ts';

test.each([
  [0, '0 B'],
  [1023, '1023 B'],
  [1536, '1.5 KiB'],
  [150 * 1024, '150 KiB'],
  [5 * 1024 ** 4, '5.0 TiB'],
  [5000 * 1024 ** 4, '5000 TiB'],
])('%d bytes are %s', (bytes, text) => expect(sizeOf(bytes)).toBe(text));

test.each([
  [0, '1 s'],
  [89, '89 s'],
  [120, '2 min'],
  [7200, '2 h'],
])('%d seconds are %s', (seconds, text) => expect(timeOf(seconds)).toBe(text));
