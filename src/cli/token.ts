import { Command } from 'commander';
import { apiScopeNames, type ApiScope } from '../access/api-scopes.ts';
import { grantSchema, grantsMax, type Grant } from '../access/grants.ts';
import { loadConfig } from '../config/load.ts';
import { createLogger } from '../telemetry/logger.ts';
import { UsageError } from './usage-error.ts';

export const tokenCommand = (): Command =>
  new Command('token')
    .description('Manage personal access tokens.')
    .addCommand(createCommand())
    .addCommand(listCommand())
    .addCommand(revokeCommand());

/** What the commands work with; loaded when one of them runs. */
async function open() {
  const config = loadConfig();
  const [{ withDatabase }, { commandLine }, tokens, rows, common] = await Promise.all([
    import('../app/facts.ts'),
    import('../access/actor.ts'),
    import('../access/personal-tokens.ts'),
    import('../access/sql/named-credentials.ts'),
    import('../access/named-credentials.ts'),
  ]);
  return { config, logger: createLogger(config.log), withDatabase, commandLine, ...tokens, ...rows, ...common };
}

interface CreateOptions {
  readonly name: string;
  readonly grant: readonly string[];
  readonly apiScope: readonly string[];
  readonly expiresDays?: string;
}

const repeated = (value: string, before: readonly string[]): readonly string[] => [...before, value];

const createCommand = (): Command =>
  new Command('create')
    .description('Make a personal access token for an account. It is printed once.')
    .argument('<user>', 'the account')
    .requiredOption('--name <name>', 'what it is told apart by')
    .option(
      '--grant <pattern=actions>',
      `what it may do, as in 'acme/*=pull,push'; may be given several times`,
      repeated,
      [],
    )
    .option('--api-scope <scope>', `what of the API it may use: ${apiScopeNames.join(', ')}`, repeated, [])
    .option(
      '--expires-days <days>',
      'how long it lives; by default 90 days, or the maximum of the registry if that is less',
    )
    .action(async (user: string, options: CreateOptions) => {
      const wanted = {
        name: options.name,
        grants: grantsOf(options.grant),
        apiScopes: options.apiScope.map(scopeOf),
        expiresAt: expiryIn(options.expiresDays),
      };
      const { config, logger, withDatabase, commandLine, findAccount, ...tokens } = await open();
      if (wanted.name.length > tokens.tokenNameLengthMax || !tokens.tokenNamePattern.test(wanted.name))
        throw new UsageError(`the name ${tokens.tokenNameRule}`);
      const { row, secret } = await withDatabase(config, logger, async (database) => {
        const account = await findAccount(database, user);
        if (account === undefined) throw new UsageError(`there is no user ${user}`);
        const actor = commandLine('berth token create');
        return database.transaction((queryer) => tokens.createToken(queryer, actor, account.id, wanted, config.tokens));
      });
      const end = row.expires_at === null ? 'It does not expire.' : `It expires at ${row.expires_at.toISOString()}.`;
      process.stdout.write(`Made the token ${row.id} of ${user}. ${end}\nToken (it is not shown again): ${secret}\n`);
    });

const listedMax = 1000;

const listCommand = (): Command =>
  new Command('list')
    .description('List the personal access tokens of an account, the newest first.')
    .argument('<user>', 'the account')
    .option('--ended', 'also those that expired or were revoked', false)
    .action(async (user: string, { ended }: { ended: boolean }) => {
      const { config, logger, withDatabase, findAccount, listTokensOf, statusOf } = await open();
      const rows = await withDatabase(config, logger, async (database) => {
        const account = await findAccount(database, user);
        if (account === undefined) throw new UsageError(`there is no user ${user}`);
        return listTokensOf(database, account.id, { before: null, limit: listedMax, ended });
      });
      for (const row of rows) {
        const grants = row.grants.map(({ repositories, actions }) => `${repositories}=${actions.join(',')}`).join(' ');
        const ends = row.expires_at?.toISOString() ?? 'never ends';
        const used = row.last_used_at?.toISOString() ?? 'never used';
        process.stdout.write(`${row.id}\t${row.name}\t${statusOf(row)}\t${ends}\t${used}\t${grants}\n`);
      }
    });

const revokeCommand = (): Command =>
  new Command('revoke')
    .description('Revoke a personal access token; it ends with the next request, and with it what it was rotated from.')
    .argument('<id>', 'the id of the token, as `berth token list` shows it')
    .action(async (text: string) => {
      const id = /^[1-9]\d{0,14}$/.test(text) ? Number(text) : undefined;
      if (id === undefined) throw new UsageError(`${text} is no id of a token: it is a number`);
      const { config, logger, withDatabase, commandLine, findNamedCredential, revokeToken } = await open();
      await withDatabase(config, logger, async (database) => {
        const row = await findNamedCredential(database, 'token', id);
        if (row === undefined || row.user_id === null) throw new UsageError(`there is no token ${id}`);
        const token = { userId: row.user_id, id };
        await database.transaction((queryer) => revokeToken(queryer, commandLine('berth token revoke'), token));
      });
      process.stdout.write(`The token ${id} is revoked.\n`);
    });

function grantsOf(texts: readonly string[]): Grant[] {
  if (texts.length > grantsMax) throw new UsageError(`a token has at most ${grantsMax} grants`);
  return texts.map((text) => {
    const [repositories, actions = '', ...rest] = text.split('=');
    const grant = grantSchema.safeParse({ repositories, actions: actions.split(',') });
    if (rest.length > 0 || !grant.success)
      throw new UsageError(
        `the grant ${JSON.stringify(text)} is not valid: write a pattern and actions, as in 'acme/*=pull,push'`,
      );
    return grant.data;
  });
}

function scopeOf(text: string): ApiScope {
  const scope = apiScopeNames.find((name) => name === text);
  if (scope === undefined) throw new UsageError(`there is no API scope ${text}; there are ${apiScopeNames.join(', ')}`);
  return scope;
}

function expiryIn(days: string | undefined): Date | undefined {
  if (days === undefined) return undefined;
  if (!/^[1-9]\d{0,4}$/.test(days)) throw new UsageError('--expires-days takes a whole number of days');
  return new Date(Date.now() + Number(days) * 24 * 3600 * 1000);
}
