/** The matrix of access at the management API: the same people, credentials and places as at the data plane, the same oracle. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { casesOf, rowOf, type Case, type Row } from '../support/access-cases.ts';
import { may, verdictOf, type OracleAction, type Shown } from '../support/access-oracle.ts';
import { createWorld, type World } from '../support/access-world.ts';
import { startTestBerth, type TestBerth } from '../support/berth.ts';
import { closeConnections, eachOf, expectNone, sendRequest, type Answer } from '../support/matrix.ts';
import { tracesOf } from '../support/traces.ts';

let berth: TestBerth;
let world: World;
beforeAll(async () => {
  berth = await startTestBerth({
    BERTH_LOG_LEVEL: 'warn',
    // Disabled accounts are told that the password is wrong, again and again.
    BERTH_RATE_LIMIT_SIGN_INS_PER_ADDRESS_PER_MINUTE: '0',
    BERTH_SIGN_IN_FAILURES_FREE: '0',
    BERTH_SIGN_IN_FAILURES_PER_ADDRESS_FREE: '0',
    BERTH_SIGN_IN_FAILURES_PER_ACCOUNT_FREE: '0',
  });
  world = await createWorld(berth);
});
afterAll(async () => {
  closeConnections();
  await berth.stop();
});

interface Endpoint {
  readonly id: string;
  readonly method: string;
  /** Below /api/v1. */
  readonly path: (one: Case) => string;
  readonly body?: (one: Case) => unknown;
  readonly action: OracleAction;
  /** The status when it is allowed, where the repository is there, and where it is not. */
  readonly allowed: readonly [there: number, absent: number];
  readonly creates?: true;
  /** For everybody, not only for who is signed in. */
  readonly open?: true;
  /** An access token of the data plane has none of these. */
  readonly apiScope?: true;
  /** What may not be seen is a thing that may not be made. */
  readonly hidden?: 403;
  readonly wrong?: (one: Case, answer: Answer) => string | undefined;
  readonly done?: (cases: readonly Case[]) => Promise<readonly number[]>;
}

const at = ({ place }: Case, rest = ''): string => `/repositories/${place.name}/-${rest}`;
const actions = ['pull', 'push', 'delete', 'settings', 'members'] as const;

const endpoints: readonly Endpoint[] = [
  {
    id: 'look at a repository',
    method: 'GET',
    path: (one) => at(one),
    action: 'pull',
    allowed: [200, 404],
    open: true,
    wrong({ caller, place }, { body }) {
      const seen = JSON.parse(body.toString()) as { name: string; visibility: string; can: Record<string, boolean> };
      // Nobody at all is anonymous here: the API has no challenge to begin with.
      const shown =
        caller.who.kind === null ? { ...caller, who: { ...caller.who, kind: 'anonymous' as const } } : caller;
      // An access token for a pull is for nothing else.
      const can = actions.map(
        (action) => may(shown, action, place) && (caller.bearer === undefined || action === 'pull'),
      );
      const wanted = [place.name, place.visibility, ...can].join();
      const got = [seen.name, seen.visibility, ...actions.map((action) => seen.can[action])];
      return got.join() === wanted ? undefined : `another body: ${got.join()}, wanted ${wanted}`;
    },
  },
  {
    id: 'change its visibility',
    method: 'PATCH',
    path: (one) => at(one),
    body: ({ place }) => ({ visibility: place.visibility ?? 'private' }),
    action: 'settings',
    allowed: [200, 404],
  },
  {
    // To a name that is taken: everything is looked at but the last step, which would take it from the other cases.
    id: 'rename it',
    method: 'POST',
    path: (one) => at(one, '/rename'),
    body: ({ place }) => ({ to: place.name }),
    action: 'settings',
    allowed: [409, 404],
  },
  {
    id: 'see what its deletion takes away',
    method: 'DELETE',
    path: (one) => at(one, '?dry_run=1'),
    action: 'members',
    allowed: [200, 404],
  },
  {
    id: 'delete it unseen',
    method: 'DELETE',
    path: (one) => at(one),
    action: 'members',
    allowed: [428, 404],
  },
  {
    id: 'make it',
    method: 'POST',
    path: () => '/repositories',
    body: ({ place }) => ({ name: place.name, visibility: 'private' }),
    action: 'push',
    allowed: [409, 201],
    creates: true,
    hidden: 403,
    async done(cases) {
      const rows = await berth.database.query<{ n: number }>(
        `SELECT n FROM unnest($1::int[], $2::text[]) AS asked (n, name)
         WHERE EXISTS (SELECT 1 FROM repositories r WHERE r.name = asked.name)`,
        [cases.map(({ n }) => n), cases.map(({ place }) => place.name)],
      );
      return rows.map(({ n }) => n);
    },
  },
  {
    id: 'list its robots',
    method: 'GET',
    path: (one) => at(one, '/robots'),
    action: 'settings',
    allowed: [200, 404],
    apiScope: true,
  },
  {
    id: 'list the invitations to it',
    method: 'GET',
    path: (one) => at(one, '/invitations'),
    action: 'members',
    allowed: [200, 404],
  },
  {
    id: 'take away a role that nobody has',
    method: 'DELETE',
    path: (one) => at(one, '/members/users/nobody-at-all'),
    action: 'members',
    allowed: [404, 404],
  },
];

/** What access tokens are made for; the others are for the API alone, and no access token has them. */
const scopeActions: Partial<Record<OracleAction, string>> = { pull: 'pull', push: 'pull,push' };

function scopeOf({ caller, place }: Case, action: OracleAction): string {
  if (caller.instead === 'another repository') return `repository:${place.name}x:* repository:${place.name}/x:*`;
  if (caller.instead === 'another action') return `repository:${place.name}:${action === 'pull' ? 'push' : 'pull'}`;
  return `repository:${place.name}:${scopeActions[action] ?? '*'}`;
}

function wantedOf({ method, action, allowed, open, apiScope, hidden }: Endpoint, { caller, place }: Case): number {
  const { who, bearer } = caller;
  // Access tokens are for the data plane: here they look, and change nothing.
  if (bearer !== undefined && method !== 'GET') return 401;
  // Whoever shows nothing is anonymous here; an access token of nobody is nobody's.
  if (who.kind === 'anonymous') return 401;
  if (who.kind === null && open !== true) return 401;
  const scopes = bearer !== undefined && scopeActions[action] === undefined ? 'narrow' : caller.scopes;
  const shown: Shown = { ...caller, scopes, who: who.kind === null ? { ...who, kind: 'anonymous' } : who };
  const verdict = verdictOf(shown, action, place);
  if (verdict !== 'dead' && bearer !== undefined && apiScope === true) return 403;
  switch (verdict) {
    case 'allowed':
      return allowed[place.visibility === null ? 1 : 0];
    case 'challenge':
    case 'dead':
    case 'insufficient':
      return 401;
    case 'forbidden':
      return 403;
    case 'hidden':
      return hidden ?? 404;
  }
}

test.each(endpoints)('$id', async (endpoint) => {
  const { method, path, body, action, wrong } = endpoint;
  const cases = casesOf(endpoint);
  const headers = await world.headersOf(cases.map((one) => ({ caller: one.caller, scope: scopeOf(one, action) })));
  const all = cases.map((one, i) => ({ one, header: headers[i], wanted: wantedOf(endpoint, one) }));
  const differing: Row[] = [];

  async function send(some: typeof all): Promise<void> {
    await eachOf(some, async ({ one, header, wanted }) => {
      const answer = await sendRequest(berth.port, {
        method,
        path: `/api/v1${path(one)}`,
        headers: {
          ...(header !== undefined && { authorization: header }),
          ...(body !== undefined && { 'content-type': 'application/json' }),
        },
        ...(body !== undefined && { body: Buffer.from(JSON.stringify(body(one))) }),
      });
      const want = String(wanted);
      const got =
        answer.status === wanted
          ? ((wanted === 200 ? wrong?.(one, answer) : problemIn(answer)) ?? want)
          : `${answer.status} ${answer.body.toString().slice(0, 120)}`;
      if (got !== want) differing.push({ ...rowOf(endpoint, one), want, got });
    });
  }

  const refused = all.filter(({ wanted }) => wanted >= 300);
  const before = await facts();
  await send(refused);
  const after = await facts();
  const permitted = all.filter(({ wanted }) => wanted < 300);
  await send(permitted);
  if (endpoint.done !== undefined) {
    const done = new Set(await endpoint.done(cases.filter(({ place }) => place.visibility === null)));
    for (const { one } of permitted)
      if (!done.delete(one.n)) differing.push({ ...rowOf(endpoint, one), want: 'done', got: 'not done' });
    for (const { one } of refused)
      if (done.has(one.n)) differing.push({ ...rowOf(endpoint, one), want: 'not done', got: 'done' });
  }
  expectNone(differing, all.length);
  expect(after).toEqual(before);
  // A matrix in which nobody may, or everybody may, says nothing.
  expect(all.map(({ wanted }) => wanted)).toEqual(expect.arrayContaining([...endpoint.allowed, 401]));
});

/** Every refusal is a problem of RFC 9457, and tells nothing of what is there. */
function problemIn({ status, headers, body }: Answer): string | undefined {
  if (status < 300) return undefined;
  if (headers['content-type'] !== 'application/problem+json') return `the type ${String(headers['content-type'])}`;
  if (headers['etag'] !== undefined || headers['location'] !== undefined) return 'it tells what is there';
  const problem = JSON.parse(body.toString()) as { status: number };
  return problem.status === status ? undefined : `a problem of ${problem.status}`;
}

/** All that is kept, but for what signing in itself leaves: when a credential was last used, and from where. */
async function facts() {
  const { rows } = await tracesOf(berth);
  const { credentials: _use, known_addresses: _from, ...others } = rows;
  return others;
}
