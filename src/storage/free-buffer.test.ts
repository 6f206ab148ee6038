import { describe, expect, test } from 'vitest';
import { freeBuffer } from './free-buffer.ts';

describe('freeing a buffer', () => {
  test('gives its memory back', () => {
    const buffer = Buffer.from(new ArrayBuffer(65_536));
    freeBuffer(buffer);
    expect(buffer.length).toBe(0);
  });

  test('leaves alone what shares its memory with others', () => {
    const memory = new ArrayBuffer(1000);
    const [one, other] = [Buffer.from(memory, 0, 500), Buffer.from(memory, 500)];
    other.fill('x');
    freeBuffer(one);
    expect(one.length).toBe(500);
    expect(other.toString()).toBe('x'.repeat(500));
  });
});
