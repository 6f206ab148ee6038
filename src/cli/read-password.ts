import type { Readable } from 'node:stream';
import { UsageError } from './usage-error.ts';

const INPUT_BYTES_MAX = 4096;

/**
 * The whole input without the newline that `echo` or a file puts at its end.
 * @throws UsageError when there is none, or too much to be one password
 */
export async function readPassword(input: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of input as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > INPUT_BYTES_MAX) throw new UsageError('the password on the standard input is too long');
    chunks.push(chunk);
  }
  const password = Buffer.concat(chunks)
    .toString('utf8')
    .replace(/\r?\n$/, '');
  if (password === '') throw new UsageError('there is no password on the standard input');
  if (/\p{Cc}/u.test(password))
    throw new UsageError('the password on the standard input has more than one line, or a control character');
  return password;
}
