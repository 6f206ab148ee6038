import { pino, stdSerializers, type DestinationStream, type Level, type Logger } from 'pino';
import { prettyLine } from './pretty.ts';
import { hideSecrets, secretNames } from './secrets.ts';

export type { Logger };

export interface LogOptions {
  readonly level: Level | 'silent';
  /** `auto` is pretty on a terminal and JSON elsewhere. */
  readonly format: 'auto' | 'json' | 'pretty';
}

/** stderr: stdout belongs to what a command answers. */
const STDERR = 2;
/** What a reader that has stopped reading may hold back in memory; beyond it lines are dropped. */
const BUFFERED_BYTES_MAX = 16 * 1024 * 1024;

const secretSerializers = Object.fromEntries([...secretNames].map((name) => [name, () => '***']));

/**
 * The log of this process. A line is written in the background, in order, and what is still waiting at the end of the
 * process is written then. A value under a secret's name (see secrets.ts) is never written.
 *
 * @param destination where lines of JSON go, for tests; default: stderr
 */
export function createLogger(options: LogOptions, destination?: DestinationStream): Logger {
  const output = destination ?? openStderr();
  const pretty = options.format === 'pretty' || (options.format === 'auto' && process.stderr.isTTY === true);
  return pino(
    {
      level: options.level,
      base: null,
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: {
        level: (label) => ({ level: label }),
        log: (object) => hideSecrets(object) as Record<string, unknown>,
      },
      // The fields of a child logger pass these and no formatter.
      serializers: { ...secretSerializers, err: (error: unknown) => hideSecrets(plainError(error)) },
    },
    pretty ? { write: (line) => output.write(prettyLine(line)) } : output,
  );
}

/** A log that cannot be written (its disk is full, its terminal is gone) must not be the end of the registry. */
function openStderr(): DestinationStream {
  const stderr = pino.destination({ fd: STDERR, sync: false, maxLength: BUFFERED_BYTES_MAX });
  // What could not be written is tried again with the next line. At the end of the process it would be tried for ever.
  stderr.on('error', () => {
    stderr.flushSync = () => undefined;
  });
  return stderr;
}

/** The serializer's answer has a prototype of its own, behind which nothing would be hidden. */
const plainError = (error: unknown): unknown => (error instanceof Error ? { ...stdSerializers.err(error) } : error);
