import { createWriteStream, existsSync } from 'node:fs';
import { Command } from 'commander';
import { withQuery } from './remote/client.ts';
import { remoteCommand } from './remote/command.ts';
import { UsageError } from './usage-error.ts';

interface AuditRecord {
  readonly at: string;
  readonly actor: string;
  readonly action: string;
  readonly outcome: string;
  readonly target: string;
  readonly address: string | null;
  readonly reason: string | null;
}

interface Filters {
  readonly who?: string;
  readonly action?: string;
  readonly outcome?: string;
  readonly namespace?: string;
  readonly repository?: string;
  readonly target?: string;
  readonly address?: string;
  readonly requestId?: string;
  readonly since?: string;
  readonly until?: string;
}

const filterOptions = [
  ['--who <name>', 'an account or a robot'],
  ['--action <action>', 'as in repository.rename; token. for all that begin with it'],
  ['--outcome <outcome>', 'done or denied'],
  ['--namespace <name>', 'what happened in it'],
  ['--repository <name>', 'what happened to it'],
  ['--target <target>', 'what it was done to; with * at the end, what begins with it'],
  ['--address <address>', "the client's address"],
  ['--request-id <id>', 'the X-Request-Id of an answer'],
  ['--since <time>', 'not before, as in 2026-01-31 or 2026-01-31T08:00:00Z'],
  ['--until <time>', 'before'],
] as const;

export const auditCommand = (): Command =>
  new Command('audit')
    .description('Read the audit log: who changed what, or was not let.')
    .addCommand(searchCommand())
    .addCommand(exportCommand());

const searchCommand = (): Command =>
  remoteCommand<Filters & { readonly rows: string }>({
    name: 'search',
    description: 'Search the audit log, the newest first.',
    options: [...filterOptions, ['--rows <number>', 'the most that are shown', '100']],
    example: 'audit search --outcome denied --since 2026-01-31',
    async run({ api, options: { rows, ...filters }, print }) {
      if (!/^[1-9]\d{0,8}$/.test(rows)) throw new UsageError('--rows takes a number');
      let more = false;
      async function* first() {
        let left = Number(rows);
        const limit = String(Math.min(left, 100));
        for await (const record of api.items<AuditRecord>('/audit', { ...queryOf(filters), limit })) {
          more = left === 0;
          if (more) return;
          left -= 1;
          yield record;
        }
      }
      await print.list(first(), {
        at: ({ at }) => at,
        who: ({ actor }) => actor,
        action: ({ action }) => action,
        outcome: ({ outcome }) => outcome,
        target: ({ target }) => target,
        address: ({ address }) => address,
        reason: ({ reason }) => reason,
      });
      if (more) print.note(`There are more: --rows shows them, and berth audit export all.`);
    },
  });

const exportCommand = (): Command =>
  remoteCommand<Filters & { readonly format: string; readonly output?: string }>({
    name: 'export',
    description: 'Write the audit log as a file with a row for each, the newest first.',
    options: [
      ...filterOptions,
      ['--format <format>', 'ndjson or csv', 'ndjson'],
      ['--output <file>', 'a new file; by default the standard output'],
    ],
    example: 'audit export --format csv --output audit.csv',
    async run({ api, options: { format, output, ...filters } }) {
      // Asked first: an export is written into the log itself.
      if (output !== undefined && existsSync(output)) throw new UsageError(`${output} is there already`);
      const answer = await api.open('GET', withQuery('/audit/export', { format, ...queryOf(filters) }));
      const file =
        output === undefined ? undefined : createWriteStream(output, { flags: 'wx', mode: 0o600, flush: true });
      await api.passOn(answer, file ?? process.stdout);
    },
  });

/** A day is meant from its beginning, in UTC as everything in the log. */
const timeOf = (text: string | undefined): string | undefined =>
  text !== undefined && /^\d{4}-\d{2}-\d{2}$/.test(text) ? `${text}T00:00:00Z` : text;

function queryOf(filters: Filters): Readonly<Record<string, string | undefined>> {
  const { who, action, outcome, namespace, repository, target, address, requestId, since, until } = filters;
  const times = { since: timeOf(since), until: timeOf(until) };
  return { who, action, outcome, namespace, repository, target, address, request_id: requestId, ...times };
}
