import { Command } from 'commander';
import { path, repositoryPath } from './remote/client.ts';
import { remoteCommand } from './remote/command.ts';
import { UsageError } from './usage-error.ts';

interface Robot {
  readonly id: number;
  readonly name: string;
  readonly grants: readonly { readonly repositories: string; readonly actions: readonly string[] }[];
  readonly status: string;
  readonly expiresAt: string | null;
  readonly lastUsed: { readonly at: string } | null;
}
type NewRobot = Robot & { readonly secret: string };

export const robotCommand = (): Command =>
  new Command('robot')
    .description('Manage robots: accounts of programs, owned by a namespace or by one repository.')
    .addCommand(listCommand())
    .addCommand(createCommand())
    .addCommand(rotateCommand())
    .addCommand(revokeCommand());

/** What has a slash in its name is a repository. */
const robotsOf = (owner: string): string =>
  owner.includes('/') ? `${repositoryPath(owner)}/robots` : path`/namespaces/${owner}/robots`;

const listCommand = (): Command =>
  remoteCommand<{ ended?: true }>({
    name: 'list',
    arguments: '<owner>',
    description: 'List the robots of a namespace and its repositories, or of one repository, the newest first.',
    options: [['--ended', 'also those that expired or were revoked']],
    example: 'robot list acme',
    run: ({ api, options: { ended }, print }, owner) =>
      print.list(api.items<Robot>(robotsOf(owner), { ended: ended && '1' }), {
        id: ({ id }) => id,
        robot: ({ name }) => name,
        status: ({ status }) => status,
        expires: ({ expiresAt }) => expiresAt ?? 'never',
        'last used': ({ lastUsed }) => lastUsed?.at ?? 'never',
        may: ({ grants }) => grants.map((each) => `${each.repositories}=${each.actions.join(',')}`).join(' '),
      }),
  });

interface CreateOptions {
  readonly grant: readonly string[];
  readonly actions?: string;
  readonly apiScope: readonly string[];
  readonly expiresDays?: string;
}

const createCommand = (): Command =>
  remoteCommand<CreateOptions>({
    name: 'create',
    arguments: '<owner> <name>',
    description: 'Make a robot for a namespace, or for one repository. Its secret is printed once.',
    options: [
      ['--grant <pattern=actions>', 'of a namespace: what it may do; may be given several times', []],
      ['--api-scope <scope>', 'of a namespace: what of the API it may use; may be given several times', []],
      ['--actions <actions>', 'of a repository: pull, push, delete, admin, with commas between them'],
      ['--expires-days <days>', 'how long it lives; by default 90 days'],
    ],
    example: "robot create acme ci --grant 'acme/*=pull,push'",
    async run({ api, options, print }, owner, name) {
      const body = { name, ...rightsOf(owner, options), expiresAt: expiryIn(options.expiresDays) };
      const { body: made } = await api.send<NewRobot>('POST', robotsOf(owner), { body });
      print.done(secretLines('Made', made), made);
    },
  });

const rotateCommand = (): Command =>
  remoteCommand<{ overlapSeconds?: string; expiresDays?: string }>({
    name: 'rotate',
    arguments: '<id>',
    description: 'Replace a robot by one with another secret, which is printed once.',
    options: [
      ['--overlap-seconds <seconds>', 'how long the old secret works on; by default not at all'],
      ['--expires-days <days>', 'how long the new one lives; by default 90 days'],
    ],
    example: 'robot rotate 17 --overlap-seconds 3600',
    async run({ api, options: { overlapSeconds, expiresDays }, print }, id) {
      const body = { overlapSeconds: overlapSeconds && Number(overlapSeconds), expiresAt: expiryIn(expiresDays) };
      const { body: made } = await api.send<NewRobot>('POST', path`/robots/${id}/rotate`, { body });
      print.done(secretLines('Rotated', made), made);
    },
  });

const revokeCommand = (): Command =>
  remoteCommand({
    name: 'revoke',
    arguments: '<id>',
    description: 'Revoke a robot; it ends with the next request, and with it what it was rotated from.',
    example: 'robot revoke 17',
    async run({ api, print }, id) {
      await api.send('DELETE', path`/robots/${id}`);
      print.done(`The robot ${id} is revoked.`);
    },
  });

function secretLines(done: string, { id, name, expiresAt, secret }: NewRobot): string[] {
  const end = expiresAt === null ? 'It does not expire.' : `It expires at ${expiresAt}.`;
  return [`${done} the robot ${name} (${id}). ${end}`, `Secret (it is not shown again): ${secret}`];
}

function rightsOf(owner: string, { grant, actions, apiScope }: CreateOptions) {
  if (owner.includes('/')) {
    if (actions === undefined || grant.length > 0 || apiScope.length > 0)
      throw new UsageError(`a robot of one repository takes --actions, as in --actions pull,push, and no other right`);
    return { actions: actions.split(',') };
  }
  if (actions !== undefined) throw new UsageError(`a robot of a namespace takes --grant 'pattern=actions'`);
  return { grants: grant.map(grantOf), apiScopes: apiScope };
}

function grantOf(text: string) {
  const [repositories, actions, ...rest] = text.split('=');
  if (actions === undefined || rest.length > 0)
    throw new UsageError(
      `the grant ${JSON.stringify(text)} is not valid: write a pattern and actions, as in 'acme/*=pull,push'`,
    );
  return { repositories, actions: actions.split(',') };
}

function expiryIn(days: string | undefined): string | undefined {
  if (days === undefined) return undefined;
  if (!/^[1-9]\d{0,4}$/.test(days)) throw new UsageError('--expires-days takes a whole number of days');
  return new Date(Date.now() + Number(days) * 24 * 3600 * 1000).toISOString();
}
