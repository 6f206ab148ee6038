/**
 * What is hidden takes as long as what is not there: medians of interleaved samples, with a bound that is generous to a busy
 * machine and narrow against a statement more or a password that is not hashed.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startTestBerth, type TestBerth } from '../support/berth.ts';
import { makeHiddenWorld, planeRequests, type HiddenWorld } from '../support/hidden-world.ts';
import { unhurried } from '../support/hostile.ts';
import { basicOf, createSender, type Sender, type SendOptions } from '../support/sender.ts';

let berth: TestBerth;
let world: HiddenWorld;
let sender: Sender;

beforeAll(async () => {
  berth = await startTestBerth({ ...unhurried, BERTH_UPLOADS_PER_ACCOUNT_MAX: '1000000', BERTH_LOG_LEVEL: 'error' });
  world = await makeHiddenWorld(berth);
  await berth.addUser('gone');
  await berth.database.query(`UPDATE users SET disabled_at = now() WHERE name = 'gone'`);
  // One connection: a sample does not wait for another one.
  sender = createSender(berth.url, {}, 1);
});
afterAll(async () => {
  sender.close();
  await berth.stop();
});

/** One of the two things that are compared: asks once, and says what status came. */
type Ask = () => Promise<number>;

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;

interface Difference {
  readonly hiddenMs: number;
  readonly absentMs: number;
  /** 1 where the hidden one took longer, -1 where the other did; 0 within the bound. */
  readonly direction: -1 | 0 | 1;
}

/** A quarter, and a part of a millisecond: less says more about the machine than about the code. */
const ratioMax = 0.25;

async function measure(hidden: Ask, absent: Ask, pairs: number, boundMs: number): Promise<Difference> {
  const [hiddenMs, absentMs]: [number[], number[]] = [[], []];
  const sample = async (ask: Ask, times: number[]): Promise<void> => {
    const start = performance.now();
    await ask();
    times.push(performance.now() - start);
  };
  for (let i = 0; i < pairs; i += 1) {
    // In turns, and each as often first as second: whatever else the machine does falls on both alike.
    const order = [[hidden, hiddenMs], [absent, absentMs]] as const; // prettier-ignore
    for (const [ask, times] of i % 2 === 0 ? order : order.toReversed()) await sample(ask, times);
  }
  const [one, other] = [median(hiddenMs), median(absentMs)];
  const [difference, shorter] = [one - other, Math.min(one, other)];
  const beyond = Math.abs(difference) > boundMs && Math.abs(difference) > ratioMax * shorter;
  return { hiddenMs: one, absentMs: other, direction: beyond ? (Math.sign(difference) as -1 | 1) : 0 };
}

/** What a listener could tell: a difference in the same direction in each of three rounds, the later ones longer. Null for none. */
async function toldApart(
  hidden: Ask,
  absent: Ask,
  pairs: number,
  boundMs: number,
): Promise<readonly Difference[] | null> {
  const rounds: Difference[] = [];
  for (const factor of [1, 2, 3]) {
    const round = await measure(hidden, absent, pairs * factor, boundMs);
    rounds.push(round);
    if (round.direction === 0 || round.direction !== rounds[0]!.direction) return null;
  }
  return rounds;
}

/** @param pairs of samples in the first round */
async function expectAlike(
  hidden: Ask,
  absent: Ask,
  { pairs, boundMs }: { pairs: number; boundMs: number },
): Promise<void> {
  // The first ones find connections, plans and compiled code.
  const statuses = new Set<number>();
  for (let i = 0; i < Math.min(pairs / 5, 10); i += 1) for (const ask of [hidden, absent]) statuses.add(await ask());
  expect(statuses.size).toBe(1);
  expect(await toldApart(hidden, absent, pairs, boundMs)).toBeNull();
}

const asking = (path: string, options: SendOptions, who: object): Ask => {
  const all = { ...options, headers: { ...who, ...options.headers } };
  return async () => (await sender.send(path, all)).status;
};

test('the measure is fine enough to see one more request to the database', async () => {
  const who = basicOf(world.eve);
  const once = asking('/v2/hidden/app/tags/list', {}, who);
  const twice: Ask = async () => {
    await once();
    return once();
  };
  expect(await toldApart(twice, once, 20, 0.2)).toHaveLength(3);
  expect(await toldApart(once, twice, 20, 0.2)).toHaveLength(3);
});

describe('a stranger at the data plane', () => {
  const cases = [
    'a tag', 'a manifest', 'a blob', 'the tags', 'the referrers', 'opening an upload', 'an upload', 'a chunk',
    'mounting into it', 'pushing a tag', 'deleting a tag', 'a token for it',
  ]; // prettier-ignore

  test.each(cases)('%s', async (what) => {
    const request = (name: string) => {
      const { path, ...options } = planeRequests(name, world).find((each) => each.what === what)!;
      return asking(path, options, basicOf(world.eve));
    };
    await expectAlike(request('hidden/app'), request('hidden/abs'), { pairs: 70, boundMs: 0.3 });
    await expectAlike(request('hidden/app'), request('absent/app'), { pairs: 70, boundMs: 0.3 });
  });

  test('by a former name', async () => {
    const request = (name: string) => asking(`/v2/${name}/manifests/v1`, {}, basicOf(world.eve));
    await expectAlike(request('hidden/was'), request('hidden/abs'), { pairs: 70, boundMs: 0.3 });
  });

  test.each(['a tag', 'a blob', 'the tags'])('%s, without any credential', async (what) => {
    const request = (name: string) => {
      const { path, ...options } = planeRequests(name, world).find((each) => each.what === what)!;
      return asking(path, options, {});
    };
    await expectAlike(request('hidden/app'), request('absent/app'), { pairs: 70, boundMs: 0.1 });
  });

  test('a blob known from elsewhere, asked for or mounted into a repository of one’s own', async () => {
    const unknown = `sha256:${'2'.repeat(64)}`;
    const known = world.image.layers[0]!.digest;
    const who = basicOf(world.eve);
    const blob = (digest: string) => asking(`/v2/evilco/own/blobs/${digest}`, {}, who);
    await expectAlike(blob(known), blob(unknown), { pairs: 70, boundMs: 0.3 });
    const mount = (digest: string, from: string) =>
      asking(`/v2/evilco/own/blobs/uploads/?mount=${digest}${from}`, { method: 'POST' }, who);
    await expectAlike(mount(known, ''), mount(unknown, ''), { pairs: 40, boundMs: 0.5 });
    await expectAlike(mount(known, '&from=hidden/app'), mount(unknown, '&from=absent/app'), {
      pairs: 40,
      boundMs: 0.5,
    });
  });
});

describe('a stranger at the API', () => {
  const body = { visibility: 'public' };
  const cases: readonly (readonly [what: string, method: string, path: string, hidden: string, absent: string, body?: object])[] = [
    ['a repository', 'GET', '/repositories/X/-', 'hidden/app', 'hidden/abs'],
    ['a repository in a namespace that is not there', 'GET', '/repositories/X/-', 'hidden/app', 'absent/app'],
    ['a change of a repository', 'PATCH', '/repositories/X/-', 'hidden/app', 'absent/app', body],
    ['a deletion of a repository', 'DELETE', '/repositories/X/-?dry_run=1', 'hidden/app', 'absent/app'],
    ['a namespace', 'GET', '/namespaces/X', 'hidden', 'absent'],
    ['a change of a namespace', 'PATCH', '/namespaces/X', 'hidden', 'absent', { description: 'x' }],
    ['the members of an organization', 'GET', '/namespaces/X/members', 'hidden', 'absent'],
    ['an account', 'GET', '/users/X', 'carole', 'absent'],
    ['the tokens of an account', 'GET', '/users/X/tokens', 'carole', 'absent'],
    ['why an account may do something', 'GET', '/access/explain?user=X&repository=evilco/own&action=pull', 'carole', 'absent'],
    ['why one may do something', 'GET', '/access/explain?repository=X&action=pull', 'hidden/app', 'absent/app'],
  ]; // prettier-ignore

  for (const [what, method, path, hidden, absent, sent] of cases)
    test(what, async () => {
      const request = (name: string) =>
        asking(`/api/v1${path.replace('X', name)}`, { method, body: sent }, basicOf(world.eve));
      await expectAlike(request(hidden), request(absent), { pairs: 50, boundMs: 0.5 });
    });

  test('a token, a robot and an invitation of somebody else', async () => {
    const who = basicOf(world.eve);
    for (const kind of ['token', 'robot', 'invitation'] as const) {
      const request = (id: string) =>
        kind === 'invitation'
          ? asking(`/api/v1/invitations/${id}/accept`, { method: 'POST' }, who)
          : asking(`/api/v1/${kind}s/${id}`, { method: 'DELETE' }, who);
      await expectAlike(request(world.existing[kind][0]!), request(world.absent[kind][0]!), {
        pairs: 40,
        boundMs: 0.5,
      });
    }
  });
});

describe('signing in', () => {
  const wrong = { password: 'a wrong password' };
  const ways: readonly (readonly [how: string, ask: (username: string) => Ask])[] = [
    ['at the API', (username) => asking('/api/v1/session', { method: 'POST', body: { username, ...wrong } }, {})],
    ['for a token', (username) => asking('/auth/token', {}, basicOf({ username, ...wrong }))],
    ['with every request', (username) => asking('/v2/', {}, basicOf({ username, ...wrong }))],
  ];

  // Hashing takes tens of milliseconds, so a few samples tell whether it was done.
  test.each(ways)('%s, with a wrong password or a name that nobody has', async (_how, ask) => {
    await expectAlike(ask('carole'), ask('absent'), { pairs: 7, boundMs: 3 });
  });

  test.each(ways)('%s, with a disabled account', async (_how, ask) => {
    await expectAlike(ask('gone'), ask('none'), { pairs: 7, boundMs: 3 });
  });
});
