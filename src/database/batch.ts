/**
 * Natural batches: whatever is asked while the last statement is under way becomes the next statement. Under load a few
 * statements over arrays replace thousands of single ones; without load a question waits for nothing. Equal questions of
 * one batch are asked once: everybody pulls the same few tags.
 */

/** Asks one question; the answer may arrive together with those to other questions. */
export type Ask<Question, Answer> = (question: Question) => Promise<Answer>;

export interface BatchOptions {
  /** Statements under way at once. */
  readonly lanes: number;
  /** Questions in one statement. */
  readonly sizeMax: number;
}

interface Waiting<Question, Answer> extends PromiseWithResolvers<Answer> {
  readonly question: Question;
}

/**
 * @param run answers all questions at once, in their order. When it throws, every question of that batch fails with the
 *   same error; so questions must be values that cannot make a statement fail.
 * @param keyOf equal for questions that have one answer, which they then share
 */
export function createBatch<Question, Answer>(
  run: (questions: Question[]) => Promise<Answer[]>,
  keyOf: (question: Question) => string,
  options: BatchOptions,
): Ask<Question, Answer> {
  let queue = new Map<string, Waiting<Question, Answer>>();
  let lanesFree = options.lanes;
  let scheduled = false;

  function schedule(): void {
    if (scheduled || lanesFree === 0 || queue.size === 0) return;
    scheduled = true;
    // After the sockets that are readable in this turn of the event loop have been read, so that their questions go together.
    setImmediate(start);
  }

  function start(): void {
    scheduled = false;
    if (lanesFree === 0 || queue.size === 0) return;
    const waiting = [...queue];
    queue = new Map(waiting.slice(options.sizeMax));
    lanesFree -= 1;
    void answer(waiting.slice(0, options.sizeMax).map(([, each]) => each));
    schedule();
  }

  async function answer(batch: Waiting<Question, Answer>[]): Promise<void> {
    try {
      const answers = await run(batch.map((waiting) => waiting.question));
      for (let i = 0; i < batch.length; i += 1) batch[i]!.resolve(answers[i]!);
    } catch (error) {
      for (const waiting of batch) waiting.reject(error);
    } finally {
      lanesFree += 1;
      schedule();
    }
  }

  return (question) => {
    const key = keyOf(question);
    let waiting = queue.get(key);
    if (waiting === undefined) {
      waiting = { question, ...Promise.withResolvers<Answer>() };
      queue.set(key, waiting);
      schedule();
    }
    return waiting.promise;
  };
}
