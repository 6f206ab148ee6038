/** People, robots and repositories of every kind, and every way for them to show who they are. */
import { createSecret } from '../../src/access/secrets.ts';
import { refreshGrantedRoles } from '../../src/access/sql/roles.ts';
import { roleNames, roleOf } from '../../src/access/roles.ts';
import type { OracleGrant, Place, Shown, Who } from './access-oracle.ts';
import type { Login, TestBerth } from './berth.ts';
import { basicOf, eachOf, sendRequest } from './matrix.ts';

/** A repository, one that is not there, or a place where none can be. */
export interface Target extends Place {
  readonly label: string;
  /** The name for one case alone: what is created must not be there for the next one. The same name where it is there. */
  alone(n: number): Place;
  /** Grants for this target are for these names. */
  readonly pattern: string;
}

const ways = ['member', 'team', 'collaborator', 'team collaborator'] as const;

function there(namespace: string, visibility: 'private' | 'internal' | 'public', word: string = visibility): Target {
  const place = { name: `${namespace}/${word}`, namespace, visibility };
  return { ...place, label: place.name, pattern: place.name, alone: () => place };
}

function absent(label: string, nameOf: (suffix: string) => string, pattern: string): Target {
  const place = (suffix: string): Place => {
    const name = nameOf(suffix);
    return { name, namespace: name.includes('/') ? name.split('/')[0]! : '_', visibility: null };
  };
  return { ...place(''), label, pattern, alone: (n) => place(`-${n}`) };
}

/** `acme` is an organization, `una` a person. Roles on repositories are on those of `acme` that are named by their visibility. */
export const targets: readonly Target[] = [
  there('acme', 'private'),
  there('acme', 'internal'),
  there('acme', 'public'),
  there('acme', 'private', 'other'),
  absent('acme/absent', (suffix) => `acme/absent${suffix}`, 'acme/absent*'),
  there('una', 'private'),
  there('una', 'public'),
  absent('una/absent', (suffix) => `una/absent${suffix}`, 'una/absent*'),
  absent('nowhere/absent', (suffix) => `nowhere${suffix}/absent`, 'nowhere*'),
  absent('absent without a slash', (suffix) => `single${suffix}`, 'single*'),
];
export const existing = targets.filter(({ visibility }) => visibility !== null);
/** A public repository in whose namespace nobody has a role. */
export const openPlace = 'elsewhere/open';
const withCollaborators = ['acme/private', 'acme/internal', 'acme/public'];

const stranger: Who = { name: 'stranger', kind: 'account', roles: [] };
const roleHolders = ways.flatMap((way) =>
  roleNames.map((role): Who & { way: string } => ({
    name: `${role}-${way.replace(' ', '-')}`,
    way,
    kind: 'account',
    roles: way === 'member' || way === 'team' ? [{ at: 'acme', role }] : withCollaborators.map((at) => ({ at, role })),
  })),
);
/** A weak role in the namespace, a strong one on a repository of it, and one elsewhere. */
const mixed: Who = {
  name: 'mixed',
  kind: 'account',
  roles: [
    { at: 'acme', role: 'reader' },
    { at: 'acme/private', role: 'maintainer' },
    { at: 'globex', role: 'owner' },
  ],
};
const una: Who = { name: 'una', kind: 'account', roles: [{ at: 'una', role: 'owner' }] };
const admin: Who = { name: 'chief', kind: 'account', admin: true, roles: [] };
const disabled: readonly Who[] = [
  { name: 'gone', kind: 'account', disabled: true, roles: [{ at: 'acme', role: 'owner' }] },
  { name: 'gone-chief', kind: 'account', disabled: true, admin: true, roles: [] },
];
export const accounts: readonly Who[] = [stranger, ...roleHolders, mixed, una, admin, ...disabled];

const everything: readonly OracleGrant[] = [{ repositories: '*', actions: ['pull', 'push', 'delete', 'admin'] }];

interface Robot extends Who {
  readonly grants: readonly OracleGrant[];
  readonly dead?: boolean;
}
const robot = (name: string, at: string, grants = everything, dead = false): Robot => ({
  name,
  kind: 'robot',
  roles: [{ at, role: 'owner' }],
  grants,
  dead,
});
export const robots: readonly Robot[] = [
  robot('acme+all', 'acme'),
  robot('acme+pull-private', 'acme', [{ repositories: 'acme/private', actions: ['pull'] }]),
  robot('acme+push-p', 'acme', [{ repositories: 'acme/p*', actions: ['pull', 'push'] }]),
  robot('acme+nothing', 'acme', []),
  robot('acme+revoked', 'acme', everything, true),
  robot('acme/private+all', 'acme/private'),
  robot('acme/public+push', 'acme/public', [{ repositories: '*', actions: ['push'] }]),
  robot('globex+all', 'globex'),
];

/** One who asks, with one way of showing it. */
export interface Caller extends Shown {
  readonly credential: string;
  /** How its credential is kept: what Basic shows, and what access tokens are made from. */
  readonly source: Source;
  /** How access tokens are made from it; undefined: it is shown by itself, as Basic. */
  readonly bearer?: 'direct' | 'refresh';
  /** What a narrow access token is made for instead. */
  readonly instead?: 'another action' | 'another repository';
}

interface SecretSource {
  readonly kind: 'secret';
  readonly grants: readonly OracleGrant[];
  readonly state: 'live' | 'revoked' | 'expired';
}

type Source = { readonly kind: 'none' } | { readonly kind: 'anonymous' } | { readonly kind: 'password' } | SecretSource;

/** The limits that tokens of people have here, for one target. */
const limits = (pattern: string): Readonly<Record<string, readonly OracleGrant[]>> => ({
  'token for everything': everything,
  'token to pull this': [{ repositories: pattern, actions: ['pull'] }],
  'token to push this': [{ repositories: pattern, actions: ['push'] }],
  'token for another repository': [{ repositories: 'elsewhere/*', actions: ['pull', 'push', 'delete', 'admin'] }],
});

/** Every way in which one account shows itself, when it is about one target. */
export function callersOf(who: Who, { pattern }: Target): Caller[] {
  const base = { who, grants: null, dead: false, scopes: 'enough' } as const;
  const password: Source = { kind: 'password' };
  const callers: Caller[] = [
    { ...base, credential: 'password', source: password },
    { ...base, credential: 'access token', source: password, bearer: 'direct' },
    { ...base, credential: 'access token from a refresh token', source: password, bearer: 'refresh' },
    ...(['another action', 'another repository'] as const).map((instead): Caller => ({
      ...base,
      credential: `access token for ${instead}`,
      scopes: 'narrow',
      source: password,
      bearer: 'direct',
      instead,
    })),
  ];
  for (const [credential, grants] of Object.entries(limits(pattern)))
    callers.push(...waysOf({ ...base, credential, grants, source: { kind: 'secret', grants, state: 'live' } }));
  for (const state of ['revoked', 'expired'] as const) {
    const source: Source = { kind: 'secret', grants: everything, state };
    callers.push(...waysOf({ ...base, credential: `${state} token`, grants: everything, dead: true, source }));
  }
  return callers;
}

function waysOf(caller: Caller): Caller[] {
  return [
    caller,
    { ...caller, credential: `access token of a ${caller.credential}`, bearer: 'direct' },
    { ...caller, credential: `refresh token of a ${caller.credential}`, bearer: 'refresh' },
  ];
}

/** Every way in which one robot shows itself. */
export function robotCallersOf(who: Robot): Caller[] {
  const state = who.dead === true ? 'revoked' : 'live';
  const source: Source = { kind: 'secret', grants: who.grants, state };
  const { grants, dead = false } = who;
  return waysOf({ who, credential: 'robot', grants, dead, scopes: 'enough', source });
}

export const nobodies: readonly Caller[] = [
  {
    who: { name: 'no credential', kind: null, roles: [] },
    credential: 'none',
    grants: null,
    dead: false,
    scopes: 'enough',
    source: { kind: 'none' },
  },
  ...([undefined, 'another action', 'another repository'] as const).map((instead): Caller => ({
    who: { name: 'anonymous', kind: 'anonymous', roles: [] },
    credential: `access token${instead === undefined ? '' : ` for ${instead}`}`,
    grants: null,
    dead: false,
    scopes: instead === undefined ? 'enough' : 'narrow',
    source: { kind: 'anonymous' },
    bearer: 'direct',
    ...(instead !== undefined && { instead }),
  })),
];

/** More scopes than twice this in one request are refused. */
const scopesPerToken = 30;

/** What somebody shows at a request: the header's value. */
export interface World {
  readonly berth: TestBerth;
  readonly repositoryIds: ReadonlyMap<string, number>;
  /** The id of `openPlace`. */
  readonly openId: number;
  /**
   * The Authorization headers of these callers for these scopes, made while all of them are alive; those that are to be
   * dead are so when this returns.
   */
  headersOf(asked: readonly { readonly caller: Caller; readonly scope: string }[]): Promise<(string | undefined)[]>;
}

export async function createWorld(berth: TestBerth): Promise<World> {
  const logins = new Map<string, Login>();
  for (const { name, admin: isAdmin } of accounts) logins.set(name, await berth.addUser(name, isAdmin));
  const { database } = berth;
  const id = async (statement: string, values: readonly unknown[]): Promise<number> =>
    (await database.query<{ id: number }>(`${statement} RETURNING id`, values))[0]!.id;
  const repositoryIds = new Map<string, number>();
  const users = new Map(
    (await database.query<{ id: number; name: string }>('SELECT id, name FROM users')).map((row) => [row.name, row.id]),
  );
  for (const name of ['acme', 'globex', 'elsewhere'])
    await id(`INSERT INTO namespaces (name, kind) VALUES ($1, 'organization')`, [name]);
  const namespaceIds = new Map(
    (await database.query<{ id: number; name: string }>('SELECT id, name FROM namespaces')).map((row) => [
      row.name,
      row.id,
    ]),
  );
  for (const { name, namespace, visibility } of existing)
    repositoryIds.set(
      name,
      await id('INSERT INTO repositories (namespace_id, name, visibility) VALUES ($1, $2, $3)', [
        namespaceIds.get(namespace),
        name,
        visibility,
      ]),
    );
  const openId = await id(`INSERT INTO repositories (namespace_id, name, visibility) VALUES ($1, $2, 'public')`, [
    namespaceIds.get('elsewhere'),
    openPlace,
  ]);
  await giveRoles();
  await database.transaction(async (queryer) => {
    for (const namespaceId of namespaceIds.values()) await refreshGrantedRoles(queryer, namespaceId);
  });

  async function giveRoles(): Promise<void> {
    const member = 'INSERT INTO namespace_members (namespace_id, user_id, role) VALUES ($1, $2, $3)';
    for (const { name, way, roles } of roleHolders) {
      const role = roleOf(roles[0]!.role);
      const [user, acme] = [users.get(name), namespaceIds.get('acme')];
      if (way === 'member') await database.query(member, [acme, user, role]);
      const isTeam = way.startsWith('team');
      const team = isTeam
        ? await id('INSERT INTO teams (namespace_id, name, role) VALUES ($1, $2, $3)', [
            acme,
            name,
            way === 'team' ? role : null,
          ])
        : null;
      if (isTeam) await database.query('INSERT INTO team_members (team_id, user_id) VALUES ($1, $2)', [team, user]);
      if (way.endsWith('collaborator'))
        for (const { at } of roles)
          await id('INSERT INTO collaborators (repository_id, user_id, team_id, role) VALUES ($1, $2, $3, $4)', [
            repositoryIds.get(at),
            isTeam ? null : user,
            team,
            role,
          ]);
    }
    for (const who of [mixed, ...disabled])
      for (const { at, role } of who.roles)
        if (at.includes('/'))
          await id('INSERT INTO collaborators (repository_id, user_id, role) VALUES ($1, $2, $3)', [
            repositoryIds.get(at),
            users.get(who.name),
            roleOf(role),
          ]);
        else await database.query(member, [namespaceIds.get(at), users.get(who.name), roleOf(role)]);
  }

  const secrets = new Map<string, Promise<string>>();
  const dying: { readonly id: number; readonly state: string }[] = [];
  function secretOf(who: Who, source: SecretSource): Promise<string> {
    const key = JSON.stringify([who.name, source]);
    const secret = secrets.get(key) ?? makeSecret(who, source, secrets.size);
    secrets.set(key, secret);
    return secret;
  }

  async function makeSecret(who: Who, source: SecretSource, n: number): Promise<string> {
    const { text, hash } = createSecret();
    const at = who.kind === 'robot' ? who.roles[0]!.at : null;
    const made = await id(
      `INSERT INTO credentials (kind, user_id, name, namespace_id, repository_id, grants, secret_hash, api_scopes)
       VALUES ($1, $2, $3, $4, $5, $6::jsonb, $7, '{organizations:read}')`,
      [
        who.kind === 'robot' ? 'robot' : 'token',
        users.get(who.name) ?? null,
        who.kind === 'robot' ? who.name : `token ${n}`,
        at === null ? null : namespaceIds.get(at.split('/')[0]!),
        at === null ? null : (repositoryIds.get(at) ?? null),
        JSON.stringify(source.grants),
        hash,
      ],
    );
    dying.push({ id: made, state: source.state });
    return text;
  }

  async function basicFor({ who, source }: Caller): Promise<string | undefined> {
    if (source.kind === 'password') return basicOf(who.name, logins.get(who.name)!.password);
    if (source.kind === 'secret') return basicOf(who.name, await secretOf(who, source));
    return undefined;
  }

  const refreshTokens = new Map<string, Promise<string>>();
  function refreshTokenOf(basic: string): Promise<string> {
    const ask = async (): Promise<string> =>
      (await askToken('?offline_token=true', { authorization: basic })).refresh_token!;
    const token = refreshTokens.get(basic) ?? ask();
    refreshTokens.set(basic, token);
    return token;
  }

  async function askToken(
    query: string,
    headers: Record<string, string>,
    form?: URLSearchParams,
  ): Promise<{ access_token: string; refresh_token?: string }> {
    const answer = await sendRequest(berth.port, {
      method: form === undefined ? 'GET' : 'POST',
      path: `/auth/token${query}`,
      headers: form === undefined ? headers : { ...headers, 'content-type': 'application/x-www-form-urlencoded' },
      ...(form !== undefined && { body: Buffer.from(form.toString()) }),
    });
    if (answer.status !== 200) throw new Error(`no token: ${answer.status} ${answer.body.toString()}`);
    return JSON.parse(answer.body.toString()) as { access_token: string; refresh_token?: string };
  }

  async function accessToken(caller: Caller, scopes: readonly string[]): Promise<string> {
    const basic = await basicFor(caller);
    if (caller.bearer === 'refresh') {
      const form = {
        grant_type: 'refresh_token',
        refresh_token: await refreshTokenOf(basic!),
        scope: scopes.join(' '),
      };
      return (await askToken('', {}, new URLSearchParams({ ...form, service: 'berth' }))).access_token;
    }
    const query = new URLSearchParams(scopes.map((scope) => ['scope', scope]));
    return (await askToken(`?${query.toString()}`, basic === undefined ? {} : { authorization: basic })).access_token;
  }

  async function setAlive(alive: boolean): Promise<void> {
    const ids = (state: string) => dying.filter((each) => each.state === state).map((each) => each.id);
    const past = alive ? 'NULL' : `now() - interval '1 second'`;
    await database.query(`UPDATE credentials SET revoked_at = ${past} WHERE id = ANY ($1)`, [ids('revoked')]);
    await database.query(`UPDATE credentials SET expires_at = ${past} WHERE id = ANY ($1)`, [ids('expired')]);
    await database.query(`UPDATE users SET disabled_at = ${past} WHERE name = ANY ($1)`, [
      disabled.map(({ name }) => name),
    ]);
  }

  /** By caller and scope. */
  const headersKnown = new Map<string, string>();

  return {
    berth,
    repositoryIds,
    openId,
    async headersOf(asked) {
      await setAlive(true);
      const keyOf = ({ who, source, bearer }: Caller): string => JSON.stringify([who.name, source, bearer]);
      // One access token for many cases: those of one caller are asked for together.
      const groups = new Map<string, { caller: Caller; scopes: Set<string> }>();
      for (const { caller, scope } of asked) {
        if (caller.bearer === undefined || headersKnown.has(keyOf(caller) + scope)) continue;
        // Scopes of one kind are in one token; a narrow one must not be made wider by what it stands beside.
        const key = `${keyOf(caller)} ${caller.instead} ${scope.split(':').at(-1)}`;
        const group = groups.get(key) ?? { caller, scopes: new Set() };
        groups.set(key, group);
        group.scopes.add(scope);
      }
      await eachOf([...groups.values()], async ({ caller, scopes }) => {
        const all = [...scopes];
        for (let first = 0; first < all.length; first += scopesPerToken) {
          const some = all.slice(first, first + scopesPerToken);
          const header = `Bearer ${await accessToken(caller, some)}`;
          for (const scope of some) headersKnown.set(keyOf(caller) + scope, header);
        }
      });
      const headers = await eachOf(asked, async ({ caller, scope }) =>
        caller.bearer === undefined ? basicFor(caller) : headersKnown.get(keyOf(caller) + scope),
      );
      await setAlive(false);
      return headers;
    },
  };
}
