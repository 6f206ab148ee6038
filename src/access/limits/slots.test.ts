import { expect, test, vi } from 'vitest';
import { createSlots } from './slots.ts';

interface Work {
  readonly finish: () => void;
  readonly result: Promise<unknown>;
}

function start(slots: ReturnType<typeof createSlots>, key: string, started: string[]): Work {
  const gate = Promise.withResolvers<void>();
  const result = slots
    .run(key, async () => {
      started.push(key);
      await gate.promise;
    })
    .catch((error: unknown) => error);
  return { finish: gate.resolve, result };
}

test('no more run than there are slots, and the next in line goes first', async () => {
  const slots = createSlots({ running: 2, waiting: 10, waitingPerKey: 10 });
  const started: string[] = [];
  const [a, b, c, d] = ['a', 'b', 'c', 'd'].map((key) => start(slots, key, started));
  await vi.waitFor(() => expect(started).toEqual(['a', 'b']));
  b!.finish();
  await b!.result;
  const late = start(slots, 'late', started);
  a!.finish();
  await a!.result;
  await vi.waitFor(() => expect(started).toEqual(['a', 'b', 'c', 'd']));
  for (const each of [c!, d!, late]) each.finish();
  await Promise.all([c!.result, d!.result, late.result]);
  expect(started).toEqual(['a', 'b', 'c', 'd', 'late']);
});

test('a full queue refuses with the seconds to wait, and an address cannot fill it alone', async () => {
  const slots = createSlots({ running: 1, waiting: 3, waitingPerKey: 2 });
  const started: string[] = [];
  const works = ['a', 'a', 'a'].map((key) => start(slots, key, started));
  await expect(start(slots, 'a', started).result).resolves.toMatchObject({
    kind: 'tooManyRequests',
    retryAfterSeconds: 5,
  });
  works.push(start(slots, 'b', started));
  await expect(start(slots, 'c', started).result).resolves.toMatchObject({
    kind: 'unavailable',
    retryAfterSeconds: 5,
  });
  for (const work of works) work.finish();
  await Promise.all(works.map((work) => work.result));
  // Everybody has left: there is room again, for the same address too.
  const again = start(slots, 'a', started);
  again.finish();
  await expect(again.result).resolves.toBeUndefined();
  expect(started).toEqual(['a', 'a', 'a', 'b', 'a']);
});

test('work that fails gives its slot back', async () => {
  const slots = createSlots({ running: 1, waiting: 1, waitingPerKey: 1 });
  for (let i = 0; i < 3; i += 1)
    await expect(slots.run('a', () => Promise.reject(new Error('broken')))).rejects.toThrow('broken');
});
