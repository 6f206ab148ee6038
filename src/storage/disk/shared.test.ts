import { describe, expect, it } from 'vitest';
import { SharedRuns } from './shared.ts';

/** Runs that end when the test says so. */
function controlled() {
  const runs: { readonly subject: string; readonly end: PromiseWithResolvers<void> }[] = [];
  const shared = new SharedRuns((subject) => {
    const end = Promise.withResolvers<void>();
    runs.push({ subject, end });
    return end.promise;
  });
  const answers: string[] = [];
  const ask = (who: string, subject = 'folder') =>
    shared.ask(subject).then(
      () => answers.push(who),
      (error: unknown) => answers.push(`${who}: ${(error as Error).message}`),
    );
  const end = async (at: number, error?: Error) => {
    if (error === undefined) runs[at]!.end.resolve();
    else runs[at]!.end.reject(error);
    await new Promise(setImmediate);
  };
  return { runs, answers, ask, end };
}

describe('shared runs', () => {
  it('answers who asks during a run by the next one, which all of them share', async () => {
    const { runs, answers, ask, end } = controlled();
    const all = [ask('first'), ask('second'), ask('third')];
    expect(runs).toHaveLength(1);
    await end(0);
    expect(answers).toEqual(['first']);
    expect(runs).toHaveLength(2);
    all.push(ask('late'));
    await end(1);
    expect(answers).toEqual(['first', 'second', 'third']);
    await end(2);
    expect(answers).toEqual(['first', 'second', 'third', 'late']);
    expect(runs).toHaveLength(3);
    await Promise.all(all);
  });

  it('begins at once when nothing is under way', async () => {
    const { runs, answers, ask, end } = controlled();
    const first = ask('first');
    await end(0);
    const second = ask('second');
    expect(runs).toHaveLength(2);
    await end(1);
    await Promise.all([first, second]);
    expect(answers).toEqual(['first', 'second']);
  });

  it('tells of a failed run only those whom it was to answer', async () => {
    const { answers, ask, end } = controlled();
    const all = [ask('first'), ask('second'), ask('third')];
    await end(0, new Error('broken'));
    expect(answers).toEqual(['first: broken']);
    await end(1);
    await Promise.all(all);
    expect(answers).toEqual(['first: broken', 'second', 'third']);
  });

  it('keeps subjects apart', async () => {
    const { runs, ask, end } = controlled();
    const all = [ask('a', 'one'), ask('b', 'two')];
    expect(runs.map(({ subject }) => subject)).toEqual(['one', 'two']);
    await end(0);
    await end(1);
    await Promise.all(all);
  });
});
