import { addAbortListener } from 'node:events';

/** The outcome of the work, or the signal's reason as soon as that is aborted: nobody waits for the work any more then. */
export async function unlessAborted<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  using _listener = addAbortListener(signal, () => aborted.reject(signal.reason));
  return await Promise.race([work, aborted.promise]);
}
