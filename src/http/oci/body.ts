import type { IncomingMessage } from 'node:http';
import { RegistryError, type ErrorKind } from '../../oci/errors.ts';
import { inviteBody } from '../expect.ts';
import { ClientGoneError } from './exchange.ts';

/**
 * Reads a whole body of limited size.
 * @param tooLarge the kind of error for a body of more than `bytesMax` bytes, thrown before reading where its length is announced
 * @throws RegistryError, ClientGoneError
 */
export async function readBody(req: IncomingMessage, bytesMax: number, tooLarge: ErrorKind): Promise<Buffer> {
  const refuse = (): RegistryError =>
    new RegistryError(tooLarge, {
      message: `the body is larger than the ${bytesMax} bytes that this registry takes`,
      detail: { limitBytes: bytesMax },
    });
  if (Number(req.headers['content-length'] ?? 0) > bytesMax) throw refuse();
  inviteBody(req);
  const chunks: Buffer[] = [];
  let bytes = 0;
  const body: AsyncIterable<Buffer> = req.iterator({ destroyOnReturn: false });
  try {
    for await (const chunk of body) {
      bytes += chunk.length;
      if (bytes > bytesMax) throw refuse();
      chunks.push(chunk);
    }
  } catch (error) {
    // What still comes is dropped: a sender that is made to wait would never get to the answer.
    req.resume();
    throw error instanceof RegistryError ? error : new ClientGoneError({ cause: error });
  }
  return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, bytes);
}
