/** The certificate of HTTPS: read from its files at the start, and again when they have changed. */
import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { Server } from 'node:https';
import { setInterval } from 'node:timers/promises';
import { createSecureContext } from 'node:tls';
import type { Logger } from '../telemetry/logger.ts';

/** Paths of PEM files. */
export interface TlsFiles {
  /** The certificate, and those that lead from it to an authority. */
  readonly cert: string;
  readonly key: string;
}

export interface TlsPair {
  readonly cert: Buffer;
  readonly key: Buffer;
}

/** Both files are there, but do not make a certificate with its key. */
export class TlsFilesError extends Error {
  override readonly name = 'TlsFilesError';
}

/** @throws TlsFilesError; the system's error when a file cannot be read */
export async function readTlsPair(files: TlsFiles): Promise<TlsPair> {
  const [cert, key] = await Promise.all([readFile(files.cert), readFile(files.key)]);
  try {
    createSecureContext({ cert, key });
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const message = `the certificate in ${files.cert} and the key in ${files.key} cannot be used together (${reason})`;
    throw new TlsFilesError(message, { cause });
  }
  return { cert, key };
}

/**
 * Looks at the files again and again until the signal, and serves what is new in them with the next connection. What
 * cannot be used is told once, and what was served before goes on being served.
 *
 * The contents are compared, because Kubernetes exchanges a link to their folder, of which a watch of a file hears nothing.
 */
export async function keepTlsFresh(
  server: Server,
  options: {
    readonly files: TlsFiles;
    /** What is served. */
    readonly pair: TlsPair;
    readonly logger: Logger;
    readonly everyMs: number;
    readonly signal: AbortSignal;
  },
): Promise<void> {
  const { files, logger, everyMs, signal } = options;
  let { pair } = options;
  let failures = 0;
  try {
    for await (const _ of setInterval(everyMs, undefined, { ref: false, signal })) {
      try {
        const now = await readTlsPair(files);
        failures = 0;
        if (now.cert.equals(pair.cert) && now.key.equals(pair.key)) continue;
        server.setSecureContext(now);
        pair = now;
        logger.info({ validUntil: new X509Certificate(now.cert).validTo }, 'a new certificate is served');
      } catch (error) {
        failures += 1;
        // At the first look one of the files may be about to be exchanged.
        if (failures === 2)
          logger.warn({ err: error }, 'the TLS files cannot be used; the certificate stays as it was');
      }
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}
