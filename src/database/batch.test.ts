import { setImmediate as turn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { createBatch } from './batch.ts';

/** A database that answers a statement when the test says so. */
function slowDatabase() {
  const statements: { questions: string[]; answered: PromiseWithResolvers<void> }[] = [];
  const run = async (questions: string[]): Promise<string[]> => {
    const answered = Promise.withResolvers<void>();
    statements.push({ questions, answered });
    await answered.promise;
    return questions.map((question) => `${question}!`);
  };
  return { statements, run };
}

const itself = (question: string): string => question;

test('what is asked while a statement is under way becomes the next one', async () => {
  const { statements, run } = slowDatabase();
  const ask = createBatch(run, itself, { lanes: 1, sizeMax: 10 });
  const first = ask('a');
  await turn();
  const later = [ask('b'), ask('c')];
  await turn();
  expect(statements.map(({ questions }) => questions)).toEqual([['a']]);
  statements[0]!.answered.resolve();
  expect(await first).toBe('a!');
  await turn();
  expect(statements[1]!.questions).toEqual(['b', 'c']);
  statements[1]!.answered.resolve();
  expect(await Promise.all(later)).toEqual(['b!', 'c!']);
});

test('equal questions of a statement are asked once, those of another statement again', async () => {
  const { statements, run } = slowDatabase();
  const ask = createBatch(run, itself, { lanes: 1, sizeMax: 10 });
  const early = [ask('a'), ask('b'), ask('a')];
  await turn();
  // The answer under way may be older than this question.
  const late = ask('a');
  statements[0]!.answered.resolve();
  expect(await Promise.all(early)).toEqual(['a!', 'b!', 'a!']);
  await turn();
  expect(statements.map(({ questions }) => questions)).toEqual([['a', 'b'], ['a']]);
  statements[1]!.answered.resolve();
  expect(await late).toBe('a!');
});

test('a long queue is parted, and runs on every free lane', async () => {
  const { statements, run } = slowDatabase();
  const ask = createBatch(run, itself, { lanes: 2, sizeMax: 2 });
  const answers = ['a', 'b', 'c', 'd', 'e'].map(ask);
  await turn();
  await turn();
  expect(statements.map(({ questions }) => questions)).toEqual([
    ['a', 'b'],
    ['c', 'd'],
  ]);
  statements[1]!.answered.resolve();
  expect(await answers[3]).toBe('d!');
  await turn();
  expect(statements[2]!.questions).toEqual(['e']);
  for (const { answered } of statements) answered.resolve();
  expect(await Promise.all(answers)).toEqual(['a!', 'b!', 'c!', 'd!', 'e!']);
});

test('a statement that fails fails its own questions only, and the next one runs', async () => {
  const { statements, run } = slowDatabase();
  const ask = createBatch(run, itself, { lanes: 1, sizeMax: 10 });
  const failing = [ask('a'), ask('b')];
  await turn();
  const next = ask('c');
  statements[0]!.answered.reject(new Error('gone'));
  expect(await Promise.allSettled(failing)).toMatchObject([
    { status: 'rejected', reason: { message: 'gone' } },
    { status: 'rejected', reason: { message: 'gone' } },
  ]);
  await turn();
  statements[1]!.answered.resolve();
  expect(await next).toBe('c!');
});
