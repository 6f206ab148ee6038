import cluster from 'node:cluster';
import { dirname, relative } from 'node:path';
import { Command } from 'commander';
import type { RunningBerth } from '../app.ts';
import type { Config } from '../config/config.ts';
import { loadSettings, type LoadedSettings } from '../config/load.ts';
import { createLogger, type Logger } from '../telemetry/logger.ts';
import { collectEarly } from './heap.ts';
import { ServingError } from './serving-error.ts';
import { untilSignalled } from './signals.ts';

export const serveCommand = (): Command =>
  new Command('serve')
    .description('Run the registry until SIGTERM or Ctrl-C.')
    .addHelpText('after', '\nWithout BERTH_DATABASE_URL it runs its own PostgreSQL in the data folder.')
    .action(async () => {
      if (cluster.isWorker) return (await import('./serve-worker.ts')).serveAsWorker();
      const signalled = untilSignalled();
      const settings = loadSettings();
      const logger = createLogger(settings.config.log);
      const berth = await startUnless(signalled, settings, logger);
      if (berth === undefined) {
        logger.info('stopped before it was ready');
        // What was given up half-way must not keep the process alive.
        process.exit(0);
      }
      collectEarly();
      process.stdout.write(banner(settings.config, berth));
      const failure = await Promise.race([signalled, berth.failed]);
      if (failure === undefined) logger.info('stopping: no new requests, running ones may end');
      await berth.stop();
      if (failure !== undefined) throw new ServingError(failure);
      logger.info('stopped');
    });

/** Undefined, and everything stopped again, when the signal comes first. */
async function startUnless(
  signalled: Promise<unknown>,
  { config, texts }: LoadedSettings,
  logger: Logger,
): Promise<RunningBerth | undefined> {
  const giveUp = new AbortController();
  let berth: RunningBerth | undefined;
  void signalled.then(() => {
    if (berth === undefined) giveUp.abort();
  });
  try {
    berth =
      config.workers === 1
        ? await (await import('../app.ts')).startBerth(config, logger, giveUp.signal)
        : await (await import('./serve-workers.ts')).startWithWorkers(config, texts, logger, giveUp.signal);
    return berth;
  } catch (error) {
    if (giveUp.signal.aborted) return undefined;
    throw error;
  }
}

/** What a person needs to begin: where it is, who they are, what to type. */
function banner(config: Config, berth: RunningBerth): string {
  const scheme = config.tls === undefined ? 'http' : 'https';
  const address = config.publicUrl?.host ?? hostAndPort(berth);
  const url = config.publicUrl?.href.replace(/\/$/, '') ?? `${scheme}://${address}`;
  const image = `${address}/${berth.adminUsername}/hello`;
  const lines = [
    `Berth is ready at ${url}`,
    '',
    `  user      ${berth.adminUsername}`,
    `  password  ${passwordLine(config, berth)}`,
    '',
    'Try it:',
    '',
    `  docker login ${address} -u ${berth.adminUsername}${berth.passwordFile === undefined ? '' : ` --password-stdin < ${fromHere(berth.passwordFile)}`}`,
    // Something that every machine with Berth on it has, to make a first image of.
    `  tar c -C ${fromHere(dirname(import.meta.dirname))} . | docker import - ${image}`,
    `  docker push ${image}`,
    '',
  ];
  return `\n${lines.join('\n')}\n`;
}

/** A path as a person would type it: relative only where that is shorter. */
function fromHere(path: string): string {
  const shorter = relative(process.cwd(), path) || '.';
  return shorter.startsWith('..') ? path : shorter;
}

function passwordLine(config: Config, { generatedPassword, passwordFile }: RunningBerth): string {
  if (generatedPassword !== undefined) return `${generatedPassword}  (kept in ${passwordFile})`;
  if (passwordFile !== undefined) return `in ${passwordFile}`;
  return config.admin.password === undefined ? 'as you set it' : 'as BERTH_ADMIN_PASSWORD says';
}

/** Listening everywhere is not an address to type. */
function hostAndPort({ host, port }: RunningBerth): string {
  const name = host === '0.0.0.0' || host === '::' ? 'localhost' : host;
  return `${name.includes(':') ? `[${name}]` : name}:${port}`;
}
