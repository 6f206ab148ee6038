/** What all commands share that ask a running Berth. */
import { Command } from 'commander';
import { loadConfig } from '../../config/load.ts';
import { createClient, type ApiClient } from './client.ts';
import { addConnectionOptions, connect, type ConnectionChoices } from './connection.ts';
import { createPrinter, type Printer } from './output.ts';

export interface Call<Options> {
  readonly api: ApiClient;
  readonly options: Options;
  readonly print: Printer;
}

export interface RemoteCommand<Options> {
  readonly name: string;
  /** As in `<organization> [user]`. */
  readonly arguments?: string;
  readonly description: string;
  /** Flags, what they mean, and the value without them. What has a default that is a list may be given several times. */
  readonly options?: readonly (readonly [flags: string, description: string, byDefault?: string | readonly string[]])[];
  /** What a person would type behind `berth`. */
  readonly example: string;
  run(call: Call<Options>, ...args: string[]): Promise<void>;
}

const repeated = (value: string, before: readonly string[]): readonly string[] => [...before, value];

/** A command that asks a running Berth by its API, as whoever typed it. */
export function remoteCommand<Options = object>(spec: RemoteCommand<Options>): Command {
  const command = new Command(spec.name).description(spec.description);
  if (spec.arguments !== undefined) command.arguments(spec.arguments);
  for (const [flags, description, byDefault] of spec.options ?? []) {
    if (typeof byDefault === 'object') command.option(flags, description, repeated, byDefault);
    else command.option(flags, description, byDefault);
  }
  command.option('--json', 'print JSON, one value a line');
  addConnectionOptions(command);
  return command
    .addHelpText('after', `\nExample:\n  berth ${spec.example}`)
    .action(async (...given: readonly unknown[]) => {
      const options = command.opts<ConnectionChoices & { json?: true } & Options>();
      const api = createClient(await connect(loadConfig(), options));
      const args = given.slice(0, command.registeredArguments.length) as string[];
      await run(() => spec.run({ api, options, print: createPrinter(options.json === true) }, ...args));
    });
}

/** Whoever reads the output may have read enough: `berth audit search | head` is no failure. */
export async function run(work: () => Promise<void>): Promise<void> {
  const gone = (error: NodeJS.ErrnoException): void => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  };
  process.stdout.on('error', gone);
  await work();
}
