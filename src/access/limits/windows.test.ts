import { expect, test } from 'vitest';
import { BoundedMemory, look, take } from './windows.ts';

test('memory keeps no more keys than it may: the one that was quiet the longest starts anew', async () => {
  const window = new BoundedMemory({ name: 'test', points: 10, seconds: 60 }, 3);
  const keys = ['a', 'b', 'c', 'a', 'd'];
  for (const key of keys) await take(window, key);
  const used = async (key: string) => (await look(window, key)).used;
  expect([await used('a'), await used('b'), await used('c'), await used('d')]).toEqual([2, 0, 1, 1]);
  expect(window.dump().storage).toHaveLength(3);
});
