/**
 * What reaches into more than one repository: mounts and the catalog, by everybody and every credential; and that nobody who
 * may not see a repository can tell it from one that is not there.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { digestToBytes } from '../../src/oci/digest.ts';
import { may, verdictOf, type OracleGrant, type Place, type Who } from '../support/access-oracle.ts';
import { casesOf, rowOf, type Case, type Row } from '../support/access-cases.ts';
import {
  accounts,
  callersOf,
  createWorld,
  existing,
  nobodies,
  openPlace,
  robotCallersOf,
  robots,
  targets,
  type Caller,
  type World,
} from '../support/access-world.ts';
import { startTestBerth, type TestBerth } from '../support/berth.ts';
import { clientOf } from '../support/client.ts';
import { content, makeImage, type Content, type TestImage } from '../support/images.ts';
import { closeConnections, eachOf, expectNone, sendRequest, type Answer, type SentRequest } from '../support/matrix.ts';

let berth: TestBerth;
let world: World;
let image: TestImage;
beforeAll(async () => {
  berth = await startTestBerth({
    BERTH_LOG_LEVEL: 'warn',
    BERTH_UPLOADS_PER_ACCOUNT_MAX: '100000',
    // Disabled accounts are told that the password is wrong, again and again.
    BERTH_RATE_LIMIT_SIGN_INS_PER_ADDRESS_PER_MINUTE: '0',
    BERTH_SIGN_IN_FAILURES_FREE: '0',
    BERTH_SIGN_IN_FAILURES_PER_ADDRESS_FREE: '0',
    BERTH_SIGN_IN_FAILURES_PER_ACCOUNT_FREE: '0',
  });
  world = await createWorld(berth);
  image = makeImage();
  for (const { name } of [...existing, { name: openPlace }])
    await clientOf(berth.url, berth.admin).pushImage(name, 'v1', image);
  // `acme/was` was once the name of `acme/private`, `acme/wat` of nothing.
  await berth.database.query(`INSERT INTO repository_aliases (name, repository_id) VALUES ('acme/was', $1)`, [
    world.repositoryIds.get('acme/private'),
  ]);
});
afterAll(async () => {
  closeConnections();
  await berth.stop();
});

const send = (request: SentRequest, authorization: string | undefined): Promise<Answer> =>
  sendRequest(berth.port, {
    ...request,
    headers: { ...request.headers, ...(authorization !== undefined && { authorization }) },
  });

/** Where this account may push, whatever it shows: its own namespace. Robots push where they belong. */
function ownPlace({ caller: { who }, n }: Case): Place {
  const namespace = who.kind === 'robot' ? who.name.split(/[/+]/)[0]! : who.name;
  return { name: `${namespace}/p-own-${n}`, namespace, visibility: null };
}

const atHome = (caller: Caller): Caller => {
  const { who } = caller;
  return { ...caller, who: { ...who, roles: [...who.roles, { at: who.name, role: 'owner' }] } };
};

/** As many credentials as are worth it; each case has a blob of its own. */
const some = ({ kind }: Who): number => (kind === 'robot' ? 3 : 2);

/** People with tokens that may push at home, and may or may not read the source. */
function limitedCases(): Case[] {
  const people = accounts.filter(({ name }) =>
    ['stranger', 'reader-member', 'developer-team', 'owner-collaborator', 'una', 'chief', 'gone'].includes(name),
  );
  return targets.flatMap((target, t) =>
    people.flatMap((who, p) => {
      const push: OracleGrant = { repositories: `${who.name}/*`, actions: ['push'] };
      const here = (...actions: OracleGrant['actions']): OracleGrant => ({ repositories: target.pattern, actions });
      return [[push], [push, here('pull')], [push, here('push', 'delete', 'admin')]].map((grants, g): Case => {
        const source = { kind: 'secret', grants, state: 'live' } as const;
        const credential = `token for ${grants.map(({ actions }) => actions.join()).join(' and ')}`;
        const n = limitedFrom + (t * people.length + p) * 3 + g;
        return { caller: { who, credential, grants, dead: false, scopes: 'enough', source }, target, place: target, n };
      });
    }),
  );
}
/** Beyond the numbers of all other cases. */
const limitedFrom = 1_000_000;

/** A blob of this case alone, in the place it is to be mounted from and nowhere else. */
const secretOf = ({ n }: Case, id: string): Content => content(`secret ${id} ${n}`);

async function putSecrets(cases: readonly Case[], id: string): Promise<void> {
  const there = cases.filter(({ place }) => world.repositoryIds.has(place.name));
  const digests = cases.map((one) => digestToBytes(secretOf(one, id).digest));
  await berth.database.query(
    'INSERT INTO blobs (digest, size, storage_key) SELECT digest, 1, key FROM unnest($1::bytea[], $2::text[]) AS made (digest, key)',
    [digests, cases.map(({ n }) => `of the test/${id} ${n}`)],
  );
  await berth.database.query(
    'INSERT INTO repository_blobs (repository_id, digest) SELECT * FROM unnest($1::bigint[], $2::bytea[])',
    [
      there.map(({ place }) => world.repositoryIds.get(place.name)),
      there.map((one) => digestToBytes(secretOf(one, id).digest)),
    ],
  );
}

test.each([
  { id: 'mount with from', query: ({ place }: Case) => `&from=${place.name}` },
  { id: 'mount without from', query: () => '' },
])('$id: only what may be read is mounted, and only there', async ({ id, query }) => {
  // Whoever may not push anywhere mounts nothing.
  const cases = casesOf({ id }, some)
    .concat(limitedCases())
    .filter(({ caller: { who } }) => who.kind === 'account' || who.kind === 'robot');
  // The token is for the push alone: what the source needs is the account's own right.
  const owns = cases.map((one) => ({ ...one, place: ownPlace(one) }));
  await putSecrets(cases, id);
  const headers = await world.headersOf(
    owns.map(({ caller, place }) => ({
      caller,
      scope: caller.instead === undefined ? `repository:${place.name}:push` : `repository:${place.name}:pull`,
    })),
  );
  const differing: Row[] = [];
  const mounted: Case[] = [];
  await eachOf(cases, async (one, i) => {
    const { caller, place } = one;
    const push = verdictOf(atHome(caller), 'push', owns[i]!.place);
    const readable = place.visibility !== null && may(caller, 'pull', place);
    const wanted = { allowed: readable ? 201 : 202, hidden: 403, forbidden: 403 }[push as string] ?? 401;
    if (wanted === 201) mounted.push(one);
    const { digest } = secretOf(one, id);
    const path = `/v2/${owns[i]!.place.name}/blobs/uploads/?mount=${digest}${query(one)}`;
    const answer = await send({ method: 'POST', path }, headers[i]);
    if (answer.status !== wanted)
      differing.push({
        ...rowOf({ id }, one),
        want: String(wanted),
        got: `${answer.status} ${answer.body.toString().slice(0, 120)}`,
      });
  });
  const linked = await berth.database.query<{ name: string }>(
    `SELECT r.name FROM repositories r JOIN repository_blobs l ON l.repository_id = r.id
     WHERE l.digest = ANY ($1::bytea[]) AND r.name LIKE '%/p-own-%' ORDER BY 1`,
    [cases.map((one) => digestToBytes(secretOf(one, id).digest))],
  );
  expectNone(differing, cases.length);
  expect(linked.map(({ name }) => name)).toEqual(mounted.map((one) => ownPlace(one).name).toSorted());
  expect(mounted.length).toBeGreaterThan(20);
});

test('the catalog: everybody sees what they may pull, and nothing else', async () => {
  const known = existing.map(({ name }) => name).concat(openPlace);
  const places = [...existing, { name: openPlace, namespace: 'elsewhere', visibility: 'public' as const }];
  const callers = [
    ...nobodies,
    ...accounts.flatMap((who) => callersOf(who, targets[0]!)),
    ...robots.flatMap((who) => robotCallersOf(who)),
  ];
  const narrow = 'repository:acme/private:pull';
  const headers = await world.headersOf(
    callers.map((caller) => ({ caller, scope: caller.scopes === 'narrow' ? narrow : 'registry:catalog:*' })),
  );
  const differing: Row[] = [];
  await eachOf(callers, async (caller, i) => {
    const answer = await send({ method: 'GET', path: '/v2/_catalog?n=1000' }, headers[i]);
    const dead = caller.who.kind === null || caller.dead || caller.who.disabled === true;
    const visible = places.filter((place) => may(caller, 'pull', place)).map(({ name }) => name);
    const want = dead || caller.scopes === 'narrow' ? '401' : visible.toSorted().join();
    const { repositories } = JSON.parse(answer.body.toString()) as { repositories?: string[] };
    const got =
      answer.status === 200 ? repositories!.filter((name) => known.includes(name)).join() : String(answer.status);
    if (got !== want) differing.push({ who: caller.who.name, credential: caller.credential, want, got });
  });
  expectNone(differing, callers.length);
});

/** Every address of the data plane below a repository. */
const requestsAt = (name: string): readonly (SentRequest & { readonly action: 'pull' | 'push' | 'delete' })[] => {
  const { digest } = image;
  const blob = image.layers[0]!.digest;
  const at = `/v2/${name}`;
  const upload = `${at}/blobs/uploads/00000000-0000-4000-8000-000000000000`;
  const reads = [
    '/manifests/v1',
    `/manifests/${digest}`,
    '/manifests/none',
    `/blobs/${blob}`,
    '/tags/list?n=1',
    `/referrers/${digest}?artifactType=a/b`,
  ].flatMap((path) => ['GET', 'HEAD'].map((method) => ({ method, path: at + path, action: 'pull' as const })));
  const body = Buffer.from('chunk');
  return [
    ...reads,
    // What is already with the client, and what is only part of it.
    { method: 'GET', path: `${at}/manifests/v1`, headers: { 'if-none-match': '*' }, action: 'pull' },
    { method: 'GET', path: `${at}/blobs/${blob}`, headers: { range: 'bytes=99999999-' }, action: 'pull' },
    { method: 'POST', path: `${at}/blobs/uploads/`, action: 'push' },
    { method: 'POST', path: `${at}/blobs/uploads/?mount=${blob}&from=${openPlace}`, action: 'push' },
    { method: 'POST', path: `${at}/blobs/uploads/?digest=${blob}`, body, action: 'push' },
    { method: 'GET', path: upload, action: 'push' },
    { method: 'PATCH', path: upload, body, action: 'push' },
    { method: 'PUT', path: `${upload}?digest=${blob}`, action: 'push' },
    { method: 'DELETE', path: upload, action: 'push' },
    {
      method: 'PUT',
      path: `${at}/manifests/v1`,
      body: image.bytes,
      headers: { 'if-match': `"${digest}"` },
      action: 'push',
    },
    { method: 'DELETE', path: `${at}/manifests/v1`, action: 'delete' },
    { method: 'DELETE', path: `${at}/manifests/${digest}`, action: 'delete' },
    { method: 'DELETE', path: `${at}/blobs/${blob}`, action: 'delete' },
  ];
};

/** Names of one length: one that is there, or once was one, and one that is not there. */
const pairs: readonly (readonly [hidden: Place, absent: Place])[] = [
  ['acme/private', 'acme/nothing', 'acme'],
  ['acme/internal', 'acme/nothings', 'acme'],
  ['acme/other', 'acme/none1', 'acme'],
  ['una/private', 'una/nothing', 'una'],
  ['acme/was', 'acme/wat', 'acme'],
].map(([hidden, absent, namespace]) => {
  const visibility = hidden === 'acme/internal' ? 'internal' : 'private';
  return [
    { name: hidden!, namespace: namespace!, visibility },
    { name: absent!, namespace: namespace!, visibility: null },
  ] as const;
});

test('who may not see a repository hears of it what is heard of nothing: everybody, everywhere, by every credential', async () => {
  const actions = ['pull', 'push', 'delete'] as const;
  const target = targets.find(({ name }) => name === 'una/public')!;
  const callers = [
    ...nobodies,
    // Of tokens those that are for something else, of roles those that are elsewhere.
    ...accounts.flatMap((who, at) => callersOf(who, target).filter((_, i) => i % 11 === at % 11)),
    ...robots.flatMap((who, at) => robotCallersOf(who).slice(at % 3, (at % 3) + 1)),
  ];
  const blind = callers.flatMap((caller) =>
    pairs
      .map(([hidden, absent]) => ({ caller, hidden, absent }))
      // A former name is asked for by its own name: whoever may read what it leads to hears more.
      .filter(
        ({ hidden }) => !may(caller, 'pull', hidden.name === 'acme/was' ? { ...hidden, name: 'acme/private' } : hidden),
      )
      .filter(({ hidden }) => !actions.some((action) => may(caller, action, hidden))),
  );
  const asked = blind.flatMap((each) =>
    actions.flatMap((action) => [each.hidden, each.absent].map((place) => ({ ...each, action, place }))),
  );
  const headers = await world.headersOf(
    asked.map(({ caller, action, place }) => ({ caller, scope: `repository:${place.name}:${action}` })),
  );
  const headerOf = new Map(
    asked.map(({ caller, action, place }, i) => [`${keyOf(caller)} ${action} ${place.name}`, headers[i]]),
  );
  const differing: Row[] = [];
  let count = 0;
  await eachOf(blind, async ({ caller, hidden, absent }) => {
    const absents = requestsAt(absent.name);
    for (const [i, request] of requestsAt(hidden.name).entries()) {
      const [there, nowhere] = await Promise.all(
        [
          { request, name: hidden.name },
          { request: absents[i]!, name: absent.name },
        ].map(async ({ request: { action, ...one }, name }) =>
          told(await send(one, headerOf.get(`${keyOf(caller)} ${action} ${name}`)), name),
        ),
      );
      count += 1;
      if (there !== nowhere)
        differing.push({
          who: caller.who.name,
          credential: caller.credential,
          request: `${request.method} ${request.path}`.slice(0, 70),
          there: there!,
          nowhere: nowhere!,
        });
    }
  });
  expectNone(differing, count);
  expect(count).toBeGreaterThan(1000);
});

const keyOf = ({ who, credential }: { who: { name: string }; credential: string }): string =>
  `${who.name} ${credential}`;

/** Everything that somebody could tell two answers apart by. */
function told({ status, headers, body }: Answer, name: string): string {
  const { date: _date, 'x-request-id': _id, ...others } = headers;
  return JSON.stringify({ status, headers: others, body: body.toString() }).replaceAll(name, 'NAME');
}

test('a former name is pulled by whoever may pull what it leads to, with a token for that name', async () => {
  await berth.database.query(
    `INSERT INTO repository_aliases (name, repository_id) SELECT 'acme/was-' || visibility, id FROM repositories
     WHERE name IN ('acme/public', 'acme/internal', 'acme/private') AND namespace_id = (SELECT id FROM namespaces WHERE name = 'acme')`,
  );
  const leads = existing.filter(({ name }) => ['acme/public', 'acme/internal', 'acme/private'].includes(name));
  const limited = ['token to', 'for another', 'token for'];
  const callers = [...nobodies, ...accounts.flatMap((who) => callersOf(who, targets[0]!))].filter(
    ({ credential, who }) => who.kind !== null && !limited.some((words) => credential.includes(words)),
  );
  const cases = leads.flatMap((place) =>
    callers.map((caller) => ({ caller, place, former: `acme/was-${place.visibility}` })),
  );
  const headers = await world.headersOf(
    cases.map(({ caller, former }) => ({ caller, scope: `repository:${former}:pull` })),
  );
  const differing: Row[] = [];
  await eachOf(cases, async ({ caller, place, former }, i) => {
    const verdict = verdictOf(caller, 'pull', place);
    const want = String({ allowed: 200, hidden: 404 }[verdict as string] ?? 401);
    const { status, body } = await send({ method: 'GET', path: `/v2/${former}/manifests/v1` }, headers[i]);
    const got = status === 200 && !body.equals(image.bytes) ? 'another manifest' : String(status);
    if (got !== want) differing.push({ who: caller.who.name, credential: caller.credential, where: former, want, got });
  });
  expectNone(differing, cases.length);
});
