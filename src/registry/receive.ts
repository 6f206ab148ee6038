/** Receives the bytes of a blob: hashed and counted on the way, gathered, written behind. */
import type { Readable } from 'node:stream';
import type { Digester } from '../oci/digest.ts';
import { RegistryError } from '../oci/errors.ts';
import type { UploadWriter } from '../storage/port.ts';

/**
 * Bytes gathered before they are handed to storage. 1 MiB for one upload: a system call per 16 network chunks (a PUT of
 * 512 MiB went at 585 MB/s, with 512 KiB at 500). Many uploads share what four have, so that memory stays bounded.
 */
const gatherBytesMax = 1024 * 1024;
const gatherBytesMin = 128 * 1024;
const gatherBytesOfAll = 4 * gatherBytesMax;
/** Bodies being received by this process. */
let receiving = 0;

function gatherBytes(): number {
  return Math.max(gatherBytesMin, Math.min(gatherBytesMax, gatherBytesOfAll / receiving));
}

export interface ReceiveOptions {
  readonly writer: UploadWriter;
  readonly digester: Pick<Digester, 'update' | 'bytes'>;
  /** Told of each buffer of the body that has been hashed and stored, and is not needed any more. */
  readonly release?: ((buffer: Buffer) => void) | undefined;
  /** Bytes that may still come before the blob is larger than allowed. */
  readonly bytesMax: number;
  /** Ends the body here, also while nothing comes. The connection outlives it: its sender is still to be told why. */
  readonly signal: AbortSignal;
}

export interface Received {
  readonly bytes: number;
  /** Why the body ended before its end: the sender left, or was interrupted. What came until then has been written and hashed. */
  readonly interrupted: unknown;
}

/**
 * Writes a body behind what the upload has. While one batch is being written the next is gathered and hashed, so at most
 * two batches are in memory; a slow disk slows the sender down.
 * @throws whatever the writer says; `RegistryError bodyTooLarge` when more than `bytesMax` came. What was written since the
 *   last `finish` counts for nothing then.
 */
export async function receive(body: Readable, options: ReceiveOptions): Promise<Received> {
  const { writer, digester, release, bytesMax } = options;
  const limitBytes = digester.bytes + bytesMax;
  let bytes = 0;
  let gathered: Buffer[] = [];
  let gatheredBytes = 0;
  let writing: Promise<void> = Promise.resolve();

  async function hand(): Promise<void> {
    await writing;
    const batch = gathered;
    writing = writer.write(batch).then(() => release && batch.forEach(release));
    // Its failure is heard at the next await; until then it must not count as unhandled.
    writing.catch(() => undefined);
    gathered = [];
    gatheredBytes = 0;
  }

  const chunks = interruptible(body, options.signal);
  receiving += 1;
  try {
    let interrupted: unknown;
    for (;;) {
      const next = await chunks.next().catch((error: unknown) => {
        interrupted = error;
      });
      if (next === undefined || next.done === true) break;
      const chunk = next.value;
      bytes += chunk.length;
      if (bytes > bytesMax) {
        await writing;
        throw new RegistryError('bodyTooLarge', {
          message: 'the blob is larger than this registry accepts',
          detail: { limitBytes },
        });
      }
      digester.update(chunk);
      gathered.push(chunk);
      gatheredBytes += chunk.length;
      if (gatheredBytes >= gatherBytes()) await hand();
    }
    if (gatheredBytes > 0) await hand();
    await writing;
    return { bytes, interrupted };
  } finally {
    receiving -= 1;
    chunks.leave();
  }
}

/** The chunks of a body until the signal; the connection outlives both, for the answer still has to be sent on it. */
function interruptible(body: Readable, signal: AbortSignal) {
  const chunks: AsyncIterator<Buffer> = body.iterator({ destroyOnReturn: false });
  let interrupt: ((reason: unknown) => void) | undefined;
  const onAbort = (): void => interrupt?.(signal.reason);
  signal.addEventListener('abort', onAbort);
  return {
    /** Rejects with the signal's reason. A promise for each chunk: one for all would remember every chunk of the body. */
    next: (): Promise<IteratorResult<Buffer>> =>
      new Promise((resolve, reject) => {
        interrupt = reject;
        if (signal.aborted) onAbort();
        else chunks.next().then(resolve, reject);
      }),
    /** Reads no more. What still comes is dropped, or its sender would never get to the answer. */
    leave(): void {
      signal.removeEventListener('abort', onAbort);
      void chunks.return?.().then(
        () => body.resume(),
        () => undefined,
      );
    },
  };
}
