/**
 * The matrix of access at the data plane: who, by which credential, in which repository, at which end-point; each answer is
 * held against an oracle that knows the rules' words only (test/support/access-oracle.ts).
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { digestToBytes } from '../../src/oci/digest.ts';
import { may, verdictOf, type Place, type Who } from '../support/access-oracle.ts';
import { casesOf, most, rowOf, type Case } from '../support/access-cases.ts';
import { createWorld, existing, openPlace, type World } from '../support/access-world.ts';
import { startTestBerth, type TestBerth } from '../support/berth.ts';
import { clientOf } from '../support/client.ts';
import { content, makeImage, makeIndex, type Content, type TestImage } from '../support/images.ts';
import { closeConnections, eachOf, expectNone, sendRequest, type Answer, type SentRequest } from '../support/matrix.ts';
import { tracesOf } from '../support/traces.ts';

let berth: TestBerth;
let world: World;
const images = new Map<string, TestImage>();
const referrers = new Map<string, Content & { readonly mediaType: string }>();
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
  const chief = clientOf(berth.url, berth.admin);
  for (const { name } of existing) {
    const image = makeImage();
    await chief.pushImage(name, 'v1', image);
    const subject = { mediaType: image.mediaType, size: image.bytes.length, digest: image.digest };
    const referrer = makeIndex([], { subject, artifactType: 'test/signature' });
    await chief.pushManifest(name, referrer.digest, referrer);
    images.set(name, image);
    referrers.set(name, referrer);
  }
});
afterAll(async () => {
  closeConnections();
  await berth.stop();
});

interface Endpoint {
  readonly id: string;
  readonly action: 'pull' | 'push' | 'delete';
  /** What it makes must not be there for the next case. */
  readonly creates?: true;
  /** Makes what the cases will change, many at once. */
  prepare?(cases: readonly Case[]): Promise<void>;
  request(one: Case): SentRequest;
  /** The status when it is allowed, where the repository is there, and where it is not. */
  readonly allowed: readonly [there: number, absent: number];
  /** What is wrong with the answer to a case that is allowed. */
  wrong?(one: Case, answer: Answer): string | undefined;
  /** The numbers of those cases whose change is there to be seen. */
  done?(cases: readonly Case[]): Promise<readonly number[]>;
}

const scopeActions = { pull: 'pull', push: 'pull,push', delete: 'delete' } as const;
/** What a token is made for that is not made for this. */
const otherActions = { pull: 'push', push: 'pull', delete: 'pull,push' } as const;

function scopeOf({ caller, place }: Case, action: Endpoint['action']): string {
  // Names that are nearly this one.
  if (caller.instead === 'another repository') return `repository:${place.name}x:* repository:${place.name}/x:*`;
  return `repository:${place.name}:${(caller.instead === undefined ? scopeActions : otherActions)[action]}`;
}

/** Headers that say something of what is there; a refusal has none of them. */
const telling = [
  'etag',
  'docker-content-digest',
  'location',
  'link',
  'range',
  'content-range',
  'docker-upload-uuid',
  'oci-subject',
  'oci-tag',
  'oci-filters-applied',
  'ratelimit-limit',
  'ratelimit-remaining',
  'retry-after',
  'cache-control',
];

interface Wanted {
  readonly status: number;
  readonly code: string;
  readonly challenge: string;
}

function wantedOf({ action, allowed, id }: Endpoint, { caller, place }: Case): Wanted {
  const none = { code: '', challenge: '' };
  const challenge = (error?: string): string =>
    `Bearer realm="${berth.url}/auth/token",service="berth",scope="repository:${place.name}:${scopeActions[action]}"` +
    (error === undefined ? '' : `,error="${error}"`);
  switch (verdictOf(caller, action, place)) {
    case 'allowed': {
      const status = allowed[place.visibility === null ? 1 : 0];
      return status === 404 ? { ...none, status, code: 'NAME_UNKNOWN' } : { ...none, status };
    }
    case 'challenge':
      return { status: 401, code: 'UNAUTHORIZED', challenge: challenge() };
    case 'dead':
      // A password that does not count is no token.
      return {
        status: 401,
        code: 'UNAUTHORIZED',
        challenge: challenge(caller.credential === 'password' ? undefined : 'invalid_token'),
      };
    case 'insufficient':
      return { status: 401, code: 'UNAUTHORIZED', challenge: challenge('insufficient_scope') };
    case 'forbidden':
      return { ...none, status: 403, code: 'DENIED' };
    case 'hidden':
      if (id.startsWith('referrers')) return { ...none, status: 200 };
      return action === 'pull'
        ? { ...none, status: 404, code: 'NAME_UNKNOWN' }
        : { ...none, status: 403, code: 'DENIED' };
  }
}

function gotOf({ status, headers, body }: Answer, method: string, wanted: Wanted): Wanted {
  const code = (): string => {
    if (method === 'HEAD') return wanted.code;
    if (status < 400) return '';
    const { errors } = JSON.parse(body.toString()) as { errors: { code: string; message: string }[] };
    return errors.map((error) => error.code).join();
  };
  const challenge = String(headers['www-authenticate'] ?? '');
  // The words may be any; what clients go by is before them.
  return { status, code: code(), challenge: challenge.replace(/,error_description="[^"]*"$/, '') };
}

const textOf = ({ status, code, challenge }: Wanted): string =>
  `${status} ${code} ${challenge.replace(/^Bearer realm=.*?,scope=/, '')}`.trim();

async function run(endpoint: Endpoint, waysOf?: (who: Who) => number): Promise<void> {
  const cases = casesOf(endpoint, waysOf);
  await endpoint.prepare?.(cases);
  const headers = await world.headersOf(
    cases.map((one) => ({ caller: one.caller, scope: scopeOf(one, endpoint.action) })),
  );
  const all = cases.map((one, i) => ({ one, header: headers[i], wanted: wantedOf(endpoint, one) }));
  const isAllowed = ({ wanted }: { wanted: Wanted }): boolean => wanted.status < 300;
  const differing: Record<string, string>[] = [];

  async function send(some: typeof all): Promise<void> {
    await eachOf(some, async ({ one, header, wanted }) => {
      const request = endpoint.request(one);
      const shown = header === undefined ? {} : { authorization: header };
      const answer = await sendRequest(berth.port, { ...request, headers: { ...request.headers, ...shown } });
      const want = textOf(wanted);
      let got = textOf(gotOf(answer, request.method, wanted));
      if (got === want)
        got =
          wanted.status < 300
            ? (endpoint.wrong?.(one, answer) ?? got)
            : (telling
                .filter((name) => name in answer.headers)
                .map((name) => `tells ${name}: ${String(answer.headers[name])}`)[0] ?? got);
      if (got !== want) differing.push({ ...rowOf(endpoint, one), want, got });
    });
  }

  const refused = all.filter((each) => !isAllowed(each));
  const before = await facts();
  await send(refused);
  const after = await facts();
  const permitted = all.filter(isAllowed);
  await send(permitted);
  if (endpoint.done !== undefined) {
    const done = new Set(await endpoint.done(cases));
    for (const { one } of permitted)
      if (!done.has(one.n)) differing.push({ ...rowOf(endpoint, one), want: 'done', got: 'not done' });
    for (const { one } of refused)
      if (done.has(one.n)) differing.push({ ...rowOf(endpoint, one), want: 'not done', got: 'done' });
  }
  expectNone(differing, all.length);
  expect(after).toEqual(before);
  // A matrix in which nobody may, or everybody may, says nothing.
  expect(permitted.length).toBeGreaterThan(20);
  expect(refused.length).toBeGreaterThan(20);
}

/** All that is kept, but for what signing in itself leaves: when a credential was last used, and from where. */
async function facts() {
  const { rows, files } = await tracesOf(berth);
  const { credentials: _use, known_addresses: _from, ...others } = rows;
  return { rows: others, files };
}

const repositoryIdOf = (one: Case): number | undefined => world.repositoryIds.get(one.place.name);
const inThere = (cases: readonly Case[]): Case[] => cases.filter((one) => repositoryIdOf(one) !== undefined);

/** Something of this case alone, such as a blob. */
const contentOf = ({ n }: Case, what: string): Content => content(`${what} ${n}`);
const numbersOf = async (statement: string, values: readonly unknown[]): Promise<number[]> =>
  (await berth.database.query<{ n: number }>(statement, values)).map(({ n }) => n);
/** The numbers of the cases whose content the statement finds, by digest. */
const foundOf = async (cases: readonly Case[], what: string, where: string): Promise<number[]> =>
  numbersOf(`SELECT n FROM unnest($1::int[], $2::bytea[], $3::text[]) AS asked (n, digest, name) WHERE ${where}`, [
    cases.map(({ n }) => n),
    cases.map((one) => digestToBytes(contentOf(one, what).digest)),
    cases.map(({ place }) => place.name),
  ]);

const get = (id: string, path: (name: string, image: TestImage) => string, wrong?: Endpoint['wrong']): Endpoint[] =>
  (['GET', 'HEAD'] as const).map((method) => ({
    id: `${id} ${method}`,
    action: 'pull',
    allowed: [200, id === 'referrers' ? 200 : 404],
    request: ({ place }) => ({
      method,
      path: `/v2/${place.name}${path(place.name, images.get(place.name) ?? someImage())}`,
    }),
    ...(method === 'GET' && wrong !== undefined && { wrong }),
  }));
/** What is asked for where there is nothing: it is somewhere else. */
const someImage = (): TestImage => images.get('acme/private')!;

const bodyIs =
  (bytes: (image: TestImage) => Buffer): Endpoint['wrong'] =>
  ({ place }, { body }) =>
    body.equals(bytes(images.get(place.name)!)) ? undefined : `another body: ${body.toString().slice(0, 80)}`;
const jsonIs =
  (value: (place: Place, who: Case) => unknown): Endpoint['wrong'] =>
  (one, { body }) =>
    body.toString() === JSON.stringify(value(one.place, one))
      ? undefined
      : `another body: ${body.toString().slice(0, 120)}`;

const reads: Endpoint[] = [
  ...get(
    'manifest by tag',
    () => '/manifests/v1',
    bodyIs((image) => image.bytes),
  ),
  ...get(
    'manifest by digest',
    (_, image) => `/manifests/${image.digest}`,
    bodyIs((image) => image.bytes),
  ),
  ...get(
    'blob',
    (_, image) => `/blobs/${image.layers[0]!.digest}`,
    bodyIs((image) => image.layers[0]!.bytes),
  ),
  ...get(
    'tags',
    () => '/tags/list',
    jsonIs(({ name }) => ({ name, tags: ['v1'] })),
  ),
  ...get(
    'referrers',
    (_, image) => `/referrers/${image.digest}`,
    (one, { body }) => {
      const { manifests } = JSON.parse(body.toString()) as { manifests: { digest: string }[] };
      const digests = manifests.map(({ digest }) => digest);
      const readable = may(one.caller, 'pull', one.place) && one.place.visibility !== null;
      const wanted = readable ? [referrers.get(one.place.name)!.digest] : [];
      return digests.join() === wanted.join() ? undefined : `other referrers: ${digests.join()}`;
    },
  ),
];

const sessionOf = ({ n }: Case): string => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;
/** An open upload for each case, as if somebody had begun it. */
async function openSessions(cases: readonly Case[]): Promise<void> {
  await berth.database.query(
    `INSERT INTO uploads (id, repository_name, credential_id, algorithm, expires_at)
     SELECT id, name, 0, 'sha256', now() + interval '1 hour' FROM unnest($1::uuid[], $2::text[]) AS asked (id, name)`,
    [cases.map(sessionOf), cases.map(({ place }) => place.name)],
  );
}
const sessionPath = (one: Case): string => `/v2/${one.place.name}/blobs/uploads/${sessionOf(one)}`;
const sessionsWhere = (where: string) => (cases: readonly Case[]) =>
  numbersOf(`SELECT n FROM unnest($1::int[], $2::uuid[]) AS asked (n, id) WHERE ${where}`, [
    cases.map(({ n }) => n),
    cases.map(sessionOf),
  ]);
const linked = `EXISTS (SELECT 1 FROM repositories r JOIN repository_blobs l ON l.repository_id = r.id
  WHERE r.name = asked.name AND l.digest = asked.digest)`;
const octets = { 'content-type': 'application/octet-stream' };

const uploads: Endpoint[] = [
  {
    id: 'upload POST',
    action: 'push',
    allowed: [202, 202],
    request: ({ place }) => ({ method: 'POST', path: `/v2/${place.name}/blobs/uploads/` }),
    wrong: ({ place }, { headers }) =>
      headers['location'] === `/v2/${place.name}/blobs/uploads/${String(headers['docker-upload-uuid'])}`
        ? undefined
        : `the location ${String(headers['location'])}`,
  },
  {
    id: 'whole blob POST',
    action: 'push',
    creates: true,
    allowed: [201, 201],
    request: (one) => {
      const { bytes, digest } = contentOf(one, 'whole');
      return {
        method: 'POST',
        path: `/v2/${one.place.name}/blobs/uploads/?digest=${digest}`,
        headers: octets,
        body: bytes,
      };
    },
    done: (cases) => foundOf(cases, 'whole', linked),
  },
  {
    id: 'upload GET',
    action: 'push',
    allowed: [204, 204],
    prepare: openSessions,
    request: (one) => ({ method: 'GET', path: sessionPath(one) }),
  },
  {
    id: 'upload PATCH',
    action: 'push',
    allowed: [202, 202],
    prepare: openSessions,
    request: (one) => ({ method: 'PATCH', path: sessionPath(one), headers: octets, body: Buffer.from('chunk') }),
    done: sessionsWhere('EXISTS (SELECT 1 FROM uploads u WHERE u.id = asked.id AND byte_offset = 5)'),
  },
  {
    id: 'upload PUT',
    action: 'push',
    creates: true,
    allowed: [201, 201],
    prepare: openSessions,
    request: (one) => {
      const { bytes, digest } = contentOf(one, 'put');
      return { method: 'PUT', path: `${sessionPath(one)}?digest=${digest}`, headers: octets, body: bytes };
    },
    done: (cases) => foundOf(cases, 'put', linked),
  },
  {
    id: 'upload DELETE',
    action: 'push',
    allowed: [204, 204],
    prepare: openSessions,
    request: (one) => ({ method: 'DELETE', path: sessionPath(one) }),
    done: sessionsWhere('NOT EXISTS (SELECT 1 FROM uploads u WHERE u.id = asked.id)'),
  },
];

/** A blob for each case in these repositories, known to the database alone. */
async function putBlobs(cases: readonly Case[], what: string, where: (one: Case) => number | undefined): Promise<void> {
  const those = cases.filter((one) => where(one) !== undefined);
  const digests = those.map((one) => digestToBytes(contentOf(one, what).digest));
  await berth.database.query(
    `INSERT INTO blobs (digest, size, storage_key) SELECT digest, 1, key FROM unnest($1::bytea[], $2::text[]) AS made (digest, key)`,
    [digests, those.map(({ n }) => `of the test/${what}-${n}`)],
  );
  await berth.database.query(
    'INSERT INTO repository_blobs (repository_id, digest) SELECT * FROM unnest($1::bigint[], $2::bytea[])',
    [those.map(where), digests],
  );
}

const indexOf = ({ n }: Case): Content & { readonly mediaType: string } =>
  makeIndex([], { annotations: { case: String(n) } });
const pushed = (name: string) => `EXISTS (SELECT 1 FROM repositories r JOIN tags t ON t.repository_id = r.id
  WHERE r.name = asked.name AND t.name = '${name}' || asked.n)`;

const others: Endpoint[] = [
  {
    id: 'mount POST',
    action: 'push',
    creates: true,
    allowed: [201, 201],
    prepare: (cases) => putBlobs(cases, 'mount', () => world.openId),
    request: (one) => {
      const { digest } = contentOf(one, 'mount');
      return { method: 'POST', path: `/v2/${one.place.name}/blobs/uploads/?mount=${digest}&from=${openPlace}` };
    },
    done: (cases) => foundOf(cases, 'mount', linked),
  },
  {
    id: 'manifest PUT',
    action: 'push',
    creates: true,
    allowed: [201, 201],
    request: (one) => {
      const { bytes, mediaType } = indexOf(one);
      return {
        method: 'PUT',
        path: `/v2/${one.place.name}/manifests/put-${one.n}`,
        headers: { 'content-type': mediaType },
        body: bytes,
      };
    },
    done: (cases) => foundOf(cases, '', pushed('put-')),
  },
  {
    id: 'tag DELETE',
    action: 'delete',
    allowed: [202, 404],
    async prepare(cases) {
      const those = inThere(cases);
      await berth.database.query(
        'INSERT INTO tags (repository_id, name, digest) SELECT * FROM unnest($1::bigint[], $2::text[], $3::bytea[])',
        [
          those.map(repositoryIdOf),
          those.map(({ n }) => `gone-${n}`),
          those.map(({ place }) => digestToBytes(images.get(place.name)!.digest)),
        ],
      );
    },
    request: ({ place, n }) => ({ method: 'DELETE', path: `/v2/${place.name}/manifests/gone-${n}` }),
    done: (cases) => foundOf(inThere(cases), '', `NOT ${pushed('gone-')}`),
  },
  {
    id: 'manifest DELETE',
    action: 'delete',
    allowed: [202, 404],
    async prepare(cases) {
      const those = inThere(cases);
      await berth.database.query(
        `INSERT INTO manifests (repository_id, digest, media_type, bytes)
         SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::text[], $4::bytea[])`,
        [
          those.map(repositoryIdOf),
          those.map((one) => digestToBytes(indexOf(one).digest)),
          those.map((one) => indexOf(one).mediaType),
          those.map((one) => indexOf(one).bytes),
        ],
      );
    },
    request: (one) => ({ method: 'DELETE', path: `/v2/${one.place.name}/manifests/${indexOf(one).digest}` }),
    done: (cases) =>
      numbersOf(
        `SELECT n FROM unnest($1::int[], $2::bytea[]) AS asked (n, digest)
         WHERE NOT EXISTS (SELECT 1 FROM manifests m WHERE m.digest = asked.digest)`,
        [inThere(cases).map(({ n }) => n), inThere(cases).map((one) => digestToBytes(indexOf(one).digest))],
      ),
  },
  {
    id: 'blob DELETE',
    action: 'delete',
    allowed: [202, 404],
    prepare: (cases) => putBlobs(cases, 'unlinked', repositoryIdOf),
    request: (one) => ({ method: 'DELETE', path: `/v2/${one.place.name}/blobs/${contentOf(one, 'unlinked').digest}` }),
    done: (cases) => foundOf(inThere(cases), 'unlinked', `NOT ${linked}`),
  },
];

test('a manifest by its tag: everybody, everywhere, by every credential', () => run(reads[0]!, most));

describe('reads', () => {
  test.each(reads.slice(1))('$id', (endpoint) => run(endpoint));
});

describe('uploads', () => {
  test.each(uploads)('$id', (endpoint) => run(endpoint));
});

describe('mounts, pushes and deletions', () => {
  test.each(others)('$id', (endpoint) => run(endpoint));
});
