import type { Readable } from 'node:stream';
import { UsageError } from './usage-error.ts';

const INPUT_BYTES_MAX = 4096;

/**
 * The whole input without the newline that `echo` or a file puts at its end.
 * @param name what is read, for the messages
 * @throws UsageError when there is none, or too much to be one password
 */
export async function readPassword(input: Readable, name = 'the password on the standard input'): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of input as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > INPUT_BYTES_MAX) throw new UsageError(`${name} is too long`);
    chunks.push(chunk);
  }
  const password = Buffer.concat(chunks)
    .toString('utf8')
    .replace(/\r?\n$/, '');
  if (password === '') throw new UsageError(`${name} is empty`);
  if (/\p{Cc}/u.test(password)) throw new UsageError(`${name} has more than one line, or a control character`);
  return password;
}
