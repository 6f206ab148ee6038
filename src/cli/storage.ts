import { Command, Option } from 'commander';
import { loadConfig } from '../config/load.ts';
import type { CopyProgress } from '../registry/copy-storage.ts';
import { createLogger } from '../telemetry/logger.ts';
import { sizeOf, timeOf } from './amounts.ts';
import { untilSignalled } from './signals.ts';
import { UsageError } from './usage-error.ts';

interface CopyOptions {
  readonly from: string;
  readonly to: string;
  readonly concurrency: string;
  readonly keepHours: string;
}

const stores = ['disk', 's3'] as const;
/** Seconds between two lines of progress. */
const sayEverySeconds = 5;

export const storageCommand = (): Command =>
  new Command('storage').description('Look after where the bytes of blobs lie.').addCommand(copyCommand());

const copyCommand = (): Command =>
  new Command('copy')
    .description(
      'Move all blobs to another storage while the registry serves. It can be ended and begun again at any time; every byte is verified.',
    )
    .addOption(new Option('--from <storage>', 'where they lie').choices(stores).makeOptionMandatory())
    .addOption(new Option('--to <storage>', 'where they go').choices(stores).makeOptionMandatory())
    .option('--concurrency <blobs>', 'blobs under way at once', '4')
    .option('--keep-hours <hours>', 'how long the old bytes are kept', '24')
    .addHelpText(
      'after',
      `
Before it, restart every Berth with BERTH_STORAGE set to the new storage and BERTH_STORAGE_PREVIOUS to the old one: new
pushes go to the new one from then on, and what is not there yet is read from the old one. After it, unset the second.
Where several processes run, docs/operate.md has an order that no pull notices.

Example:
  berth storage copy --from disk --to s3`,
    )
    .action(async (options: CopyOptions) => {
      const config = loadConfig();
      const { from, to } = options;
      if (from === to) throw new UsageError(`--from and --to are both ${to}: name two storages`);
      if (config.storage.kind !== to || config.storage.previous !== from)
        throw new UsageError(
          `BERTH_STORAGE is ${config.storage.kind} and BERTH_STORAGE_PREVIOUS is ${config.storage.previous ?? 'not set'}: ` +
            `set them to ${to} and ${from} and restart every Berth first, or new pushes would go on to ${from}`,
        );
      const numbers = {
        concurrency: wholeNumber('--concurrency', options.concurrency, 1, 64),
        keepHours: wholeNumber('--keep-hours', options.keepHours, 1, 8760),
      };
      const { copyBlobs } = await import('../app.ts');
      const interrupt = new AbortController();
      void untilSignalled().then(() =>
        interrupt.abort(new UsageError('ended before all was moved; the same command goes on')),
      );
      const say = createReporter();
      const done = await copyBlobs(config, createLogger(config.log), numbers, say, interrupt.signal);
      summarize(done, { from, to, keepHours: numbers.keepHours });
    });

function wholeNumber(flag: string, text: string, min: number, max: number): number {
  const number = Number(text);
  if (/^\d+$/.test(text) && number >= min && number <= max) return number;
  throw new UsageError(`${flag} ${text}: expected a whole number from ${min} to ${max}`);
}

/** A line every few seconds: what is done, how fast, and how long it will take. */
function createReporter(): (progress: CopyProgress) => void {
  const began = performance.now();
  let said = Number.NEGATIVE_INFINITY;
  return ({ blobs, bytes, blobsDone, bytesDone, failures }) => {
    const now = performance.now();
    if (now - said < sayEverySeconds * 1000) return;
    said = now;
    const seconds = (now - began) / 1000;
    const speed = bytesDone / seconds;
    const left = speed > 0 && bytes > bytesDone ? `, about ${timeOf((bytes - bytesDone) / speed)} left` : '';
    const failed = failures.length > 0 ? `, ${failures.length} failed` : '';
    process.stderr.write(
      `${blobsDone} of ${blobs} blobs, ${sizeOf(bytesDone)} of ${sizeOf(bytes)}, ${sizeOf(speed)}/s${left}${failed}\n`,
    );
  };
}

function summarize(
  { blobsDone, bytesDone, failures }: CopyProgress,
  { from, to, keepHours }: { from: string; to: string; keepHours: number },
): void {
  for (const { digest, reason } of failures) process.stderr.write(`${digest} stays where it is: ${reason}\n`);
  process.stdout.write(`Moved ${blobsDone} blobs, ${sizeOf(bytesDone)}, from ${from} to ${to}.\n`);
  if (failures.length > 0) {
    process.stdout.write(`${failures.length} could not be moved; say the same again when that is mended.\n`);
    process.exitCode = 1;
    return;
  }
  process.stdout.write(
    `The old bytes are deleted in ${keepHours} hours; leave BERTH_STORAGE_PREVIOUS set until then, and unset it afterwards.\n`,
  );
}
