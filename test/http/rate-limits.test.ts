/** Who asks too often hears when to come again, and nothing else. */
import supertest from 'supertest';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startTestBerth, type Login, type TestBerth } from '../support/berth.ts';
import { clientOf, tokenFor, type Client } from '../support/client.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { makeImage, makeIndex } from '../support/images.ts';

/** The tests play many clients: every request says itself where it comes from. */
const proxied = { BERTH_TRUSTED_PROXIES: '127.0.0.1' };

const running: TestBerth[] = [];
async function start(settings: Record<string, string>): Promise<TestBerth> {
  const berth = await startTestBerth({ ...proxied, ...settings });
  running.push(berth);
  return berth;
}
afterAll(async () => {
  for (const berth of running) await berth.stop();
});

interface Answer {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly body: unknown;
}

function signIn(berth: TestBerth, login: Login, address: string): Promise<Answer> {
  return supertest(berth.url)
    .get('/auth/token')
    .query({ service: 'berth' })
    .auth(login.username, login.password)
    .set('X-Forwarded-For', address)
    .then((answer) => answer);
}
const statuses = async (count: number, ask: (i: number) => Promise<Answer>): Promise<number[]> => {
  const seen: number[] = [];
  for (let i = 0; i < count; i += 1) seen.push((await ask(i)).status);
  return seen;
};
const times = (count: number, status: number): number[] => Array<number>(count).fill(status);

function expectTooMany(answer: Answer, message: RegExp, secondsMax: number): void {
  expect(answer.status).toBe(429);
  expect(answer.body).toMatchObject({
    errors: [{ code: 'TOOMANYREQUESTS', message: expect.stringMatching(message) as string }],
  });
  const seconds = Number(answer.headers['retry-after']);
  expect(seconds).toBeGreaterThanOrEqual(1);
  expect(seconds).toBeLessThanOrEqual(secondsMax);
  expect((answer.body as { errors: { message: string }[] }).errors[0]!.message).toContain(`${seconds} second`);
}

describe('failed sign-ins', () => {
  const settings = {
    BERTH_SIGN_IN_FAILURES_FREE: '3',
    BERTH_SIGN_IN_FAILURES_PER_ADDRESS_FREE: '1000',
    BERTH_SIGN_IN_FAILURES_PER_ACCOUNT_FREE: '5',
    // Long enough for the test to see it.
    BERTH_SIGN_IN_DELAY_SECONDS_MAX: '900',
  };
  let berth: TestBerth;
  beforeAll(async () => {
    berth = await start(settings);
  });

  type Door = (username: string, password: string, address: string) => PromiseLike<Answer>;
  const doors: Record<string, Door> = {
    'GET of a token': (username, password, address) => signIn(berth, { username, password }, address),
    'POST of a token': (username, password, address) =>
      supertest(berth.url)
        .post('/auth/token')
        .type('form')
        .set('X-Forwarded-For', address)
        .send({ grant_type: 'password', username, password }),
    'the data plane': (username, password, address) =>
      supertest(berth.url).get('/v2/').auth(username, password).set('X-Forwarded-For', address),
    'the API': (username, password, address) =>
      supertest(berth.url)
        .get('/api/v1/repositories/acme/app')
        .auth(username, password)
        .set('X-Forwarded-For', address),
  };

  /** Guesses until refused: on a slow machine some delays are over before the next guess. */
  async function besiege(door: Door, username: string, addressOf: (i: number) => string): Promise<Answer> {
    for (let i = 0; i < 30; i += 1) {
      const answer = await door(username, `guess ${i} of many`, addressOf(i));
      if (answer.status === 429) return answer;
      expect(answer.status).toBe(401);
    }
    return expect.unreachable('thirty wrong passwords were all answered');
  }

  test('do not keep the owner out of where the owner normally comes from', async () => {
    const owner = await berth.addUser('owner');
    const door = doors['GET of a token']!;
    expect((await signIn(berth, owner, '203.0.113.7')).status).toBe(200);
    expectTooMany(await besiege(door, 'owner', (i) => `198.51.${i}.1`), /^too many sign-ins; try again in/, 900);
    expect((await signIn(berth, owner, '203.0.113.8')).status).toBe(200);
    // Another stranger, who has not guessed before, finds the door closed as well.
    expectTooMany(await besiege(door, 'owner', () => '192.0.2.1'), /^too many sign-ins; try again in/, 900);
    expect((await signIn(berth, owner, '203.0.113.9')).status).toBe(200);
  });

  test.each(Object.entries(doors))('are refused alike whether or not the account exists, at %s', async (name, door) => {
    const existing = `there-${name.replaceAll(/\W/g, '').toLowerCase()}`;
    await berth.addUser(existing);
    const shapeOf = async (username: string): Promise<unknown> => {
      const { status, headers, body } = await besiege(door, username, (i) => `198.52.${i}.1`);
      expect(Number(headers['retry-after'])).toBeGreaterThan(0);
      const same = { ...(body as object), requestId: undefined };
      return {
        status,
        names: Object.keys(headers).toSorted(),
        body: JSON.stringify(same).replaceAll(/\d+ seconds?/g, 'N'),
      };
    };
    expect(await shapeOf(existing)).toEqual(await shapeOf(existing.replace('there', 'absent')));
  });

  test.each(['crowd', 'nobody'])('a hundred guesses at once at %s are not a hundred answers', async (username) => {
    if (username === 'crowd') await berth.addUser(username);
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, i) =>
        signIn(berth, { username, password: `guess ${i} at once` }, '203.0.113.50'),
      ),
    );
    const guessed = answers.filter(({ status }) => status === 401).length;
    // Three are free, and one more for each of the few seconds that this takes.
    expect(guessed).toBeGreaterThanOrEqual(4);
    expect(guessed).toBeLessThan(10);
    expect(answers.filter(({ status }) => status === 429)).toHaveLength(100 - guessed);
  });

  test.each(['burst', 'noburst'])('a burst with one password at %s is one attempt', async (username) => {
    const right = username === 'burst' ? await berth.addUser(username) : { username, password: 'whatever it is' };
    const burst = await Promise.all(Array.from({ length: 30 }, () => signIn(berth, right, '203.0.113.60')));
    expect(burst.map(({ status }) => status)).toEqual(times(30, username === 'burst' ? 200 : 401));
  });
});

describe('a server with limits for all', () => {
  let berth: TestBerth;
  let admin: Client;
  beforeAll(async () => {
    berth = await start({
      BERTH_RATE_LIMIT_SIGN_INS_PER_ADDRESS_PER_MINUTE: '5',
      BERTH_RATE_LIMIT_TOKENS_PER_ADDRESS_PER_MINUTE: '8',
    });
    admin = clientOf(berth.url, berth.admin);
  });

  test('verifies so many passwords for an address in a minute, right or wrong, and as many again for the next', async () => {
    const guess = (address: string) => (i: number) =>
      signIn(berth, { username: `user${i}`, password: 'wrong wrong' }, address);
    expect(await statuses(6, guess('2001:db8:1:1::1'))).toEqual([...times(5, 401), 429]);
    expectTooMany(await guess('2001:db8:1:1:ffff::9')(7), /^too many sign-ins; try again in/, 60);
    expect((await guess('2001:db8:1:2::1')(8)).status).toBe(401);
  });

  test('gives so many tokens to an address in a minute', async () => {
    const ask = (): Promise<Answer> =>
      supertest(berth.url)
        .get('/auth/token')
        .query({ service: 'berth' })
        .set('X-Forwarded-For', '203.0.113.9')
        .then((answer) => answer);
    expect(await statuses(8, ask)).toEqual(times(8, 200));
    expectTooMany(await ask(), /^too many token requests: 8 in a minute/, 60);
    const post = await supertest(berth.url)
      .post('/auth/token')
      .type('form')
      .set('X-Forwarded-For', '203.0.113.9')
      .send({ grant_type: 'password', ...berth.admin });
    expectTooMany(post, /^too many token requests/, 60);
    // Not for pushing and pulling with what one has.
    expect((await admin.request('get', '/v2/').set('X-Forwarded-For', '203.0.113.9')).status).toBe(200);
  });
});

describe('pushes', () => {
  test('are counted by manifest, and refused before their blobs are sent', async () => {
    const berth = await start({ BERTH_RATE_LIMIT_PUSHES_PER_ACCOUNT_PER_HOUR: '2' });
    const client = clientOf(berth.url, await berth.addUser('pusher'));
    for (const tag of ['one', 'two']) await client.pushImage('pusher/app', tag, makeImage());
    expectTooMany(
      await client.request('post', '/v2/pusher/app/blobs/uploads/'),
      /^too many pushes: 2 in an hour/,
      3600,
    );
    const image = makeImage();
    const answer = await client
      .request('put', '/v2/pusher/app/manifests/three')
      .set('Content-Type', image.mediaType)
      .send(image.bytes.toString());
    expectTooMany(answer, /^too many pushes/, 3600);
    // Others go on, and so does pulling.
    expect((await client.request('get', '/v2/pusher/app/manifests/one')).status).toBe(200);
    await clientOf(berth.url, berth.admin).pushImage('pusher/app', 'three', image);
  });
});

describe('pulls', () => {
  const image = makeImage();
  const index = makeIndex([image]);
  let berth: TestBerth;
  beforeAll(async () => {
    berth = await start({
      BERTH_DEFAULT_VISIBILITY: 'public',
      BERTH_RATE_LIMIT_ANONYMOUS_PULLS_PER_6_HOURS: '3',
      BERTH_RATE_LIMIT_ACCOUNT_PULLS_PER_6_HOURS: '2',
    });
    const admin = clientOf(berth.url, berth.admin);
    await admin.pushImage('acme/app', 'v1', image);
    await admin.pushManifest('acme/app', 'multi', index);
  });

  async function anonymously(address: string) {
    const token = await tokenFor(berth.url, ['repository:acme/app:pull']);
    const client = clientOf(berth.url);
    return (method: 'get' | 'head', path: string, headers: Record<string, string> = {}) =>
      client
        .request(method, `/v2/acme/app/${path}`)
        .set('Authorization', `Bearer ${token}`)
        .set('X-Forwarded-For', address)
        .set(headers);
  }
  const standing = ({ headers }: { headers: Record<string, string> }): unknown[] => [
    headers['ratelimit-limit'],
    headers['ratelimit-remaining'],
    headers['docker-ratelimit-source'],
  ];

  test('without an account are counted by manifest as Docker Hub does, with its headers', async () => {
    const ask = await anonymously('203.0.113.7');
    const left = (remaining: number): unknown[] => ['3;w=21600', `${remaining};w=21600`, '203.0.113.7'];
    // A version check is no pull, whichever way it is made, and neither is the index before its image.
    expect(standing(await ask('head', 'manifests/v1'))).toEqual(left(3));
    expect(standing(await ask('get', 'manifests/v1'))).toEqual(left(2));
    const unchanged = await ask('get', 'manifests/v1', { 'If-None-Match': `"${image.digest}"` });
    expect([unchanged.status, ...standing(unchanged)]).toEqual([304, ...left(2)]);
    expect(standing(await ask('get', 'manifests/multi'))).toEqual(left(2));
    expect(standing(await ask('get', `manifests/${image.digest}`))).toEqual(left(1));
    // What is not there is not pulled, and blobs are not counted.
    expect((await ask('get', 'manifests/absent')).status).toBe(404);
    const blob = await ask('get', `blobs/${image.config.digest}`);
    expect([blob.status, ...standing(blob)]).toEqual([200, undefined, undefined, undefined]);
    expect(standing(await ask('get', 'manifests/v1'))).toEqual(left(0));

    for (const reference of ['v1', 'multi', image.digest]) {
      const refused = await ask('get', `manifests/${reference}`);
      expectTooMany(
        refused,
        /^the limit of 3 pulls in 6 hours is reached; try again in \d+ seconds, or sign in$/,
        21_600,
      );
      expect(standing(refused)).toEqual(left(0));
    }
    const check = await ask('head', 'manifests/v1');
    expect([check.status, ...standing(check)]).toEqual([200, ...left(0)]);
    expect((await ask('get', `blobs/${image.config.digest}`)).status).toBe(200);
  });

  test('of an IPv6 network are counted together', async () => {
    const [one, other] = [await anonymously('2001:db8:5:5::1'), await anonymously('2001:db8:5:5:9::9')];
    await one('get', 'manifests/v1');
    expect(standing(await other('get', 'manifests/v1'))).toEqual(['3;w=21600', '1;w=21600', '2001:db8:5:5::/64']);
  });

  test('with an account are counted for it, wherever it comes from', async () => {
    const client = clientOf(berth.url, await berth.addUser('puller'));
    const pull = (address: string) =>
      client.request('get', '/v2/acme/app/manifests/v1').set('X-Forwarded-For', address);
    expect(standing(await pull('203.0.113.7'))).toEqual(['2;w=21600', '1;w=21600', undefined]);
    expect(standing(await pull('198.51.100.7'))).toEqual(['2;w=21600', '0;w=21600', undefined]);
    const refused = await pull('192.0.2.7');
    expectTooMany(refused, /^the limit of 2 pulls in 6 hours is reached; try again in \d+ seconds$/, 21_600);
    expect(standing(refused)).toEqual(['2;w=21600', '0;w=21600', undefined]);
  });

  test('that may not be made are refused as ever, whatever is left of the limit', async () => {
    const ask = await anonymously('203.0.113.77');
    await statuses(4, () => ask('get', 'manifests/v1').then((answer) => answer));
    const hidden = await clientOf(berth.url)
      .request('get', '/v2/acme/hidden/manifests/v1')
      .set('X-Forwarded-For', '203.0.113.77');
    expect([hidden.status, ...standing(hidden)]).toEqual([401, undefined, undefined, undefined]);
  });
});

test('nothing is said of limits where there are none', async () => {
  const berth = await start({});
  const admin = clientOf(berth.url, berth.admin);
  await admin.pushImage('acme/app', 'v1', makeImage());
  const { status, headers } = await admin.request('get', '/v2/acme/app/manifests/v1');
  expect([status, Object.keys(headers).filter((name) => name.includes('ratelimit'))]).toEqual([200, []]);
});

describe('two servers with one database', () => {
  let facts: TestDatabase;
  let servers: [TestBerth, TestBerth];
  beforeAll(async () => {
    facts = await createTestDatabase();
    const settings = {
      BERTH_DATABASE_URL: facts.url,
      BERTH_STORAGE: 'memory',
      BERTH_RATE_LIMIT_STORE: 'postgres',
      BERTH_RATE_LIMIT_TOKENS_PER_ADDRESS_PER_MINUTE: '4',
      BERTH_RATE_LIMIT_PUSHES_PER_ADDRESS_PER_HOUR: '3',
      BERTH_SIGN_IN_FAILURES_FREE: '3',
      // What was counted must not be over before the test has seen it.
      BERTH_SIGN_IN_DELAY_SECONDS_MAX: '900',
    };
    servers = [await start(settings), await start(settings)];
  });
  afterAll(async () => {
    for (const berth of servers) {
      running.splice(running.indexOf(berth), 1);
      await berth.stop();
    }
    await facts.drop();
  });
  const serverOf = (i: number): TestBerth => servers[i % 2]!;

  test('count tokens together', async () => {
    const ask = (i: number): Promise<Answer> =>
      supertest(serverOf(i).url)
        .get('/auth/token')
        .query({ service: 'berth' })
        .set('X-Forwarded-For', '203.0.113.9')
        .then((answer) => answer);
    expect(await statuses(4, ask)).toEqual(times(4, 200));
    for (const i of [0, 1]) expectTooMany(await ask(i), /^too many token requests/, 60);
  });

  test('count pushes together', async () => {
    const push = async (i: number): Promise<Answer> => {
      const image = makeImage();
      const client = clientOf(serverOf(i).url, serverOf(i).admin);
      const answer = await client
        .request('put', `/v2/acme/app/manifests/v1`)
        .set('Content-Type', image.mediaType)
        .set('X-Forwarded-For', '203.0.113.10')
        .send(image.bytes.toString());
      return answer;
    };
    // The blobs are missing: an attempt is a push.
    expect(await statuses(3, push)).toEqual(times(3, 404));
    for (const i of [0, 1]) expectTooMany(await push(i), /^too many pushes/, 3600);
  });

  test('count failed sign-ins together, also those under way at once', async () => {
    const answers = await Promise.all(
      Array.from({ length: 60 }, (_, i) =>
        signIn(serverOf(i), { username: 'admin', password: `guess ${i} at once` }, '203.0.113.11'),
      ),
    );
    const guessed = answers.filter(({ status }) => status === 401).length;
    expect(guessed).toBeGreaterThanOrEqual(4);
    expect(guessed).toBeLessThan(10);
    expect(answers.filter(({ status }) => status === 429)).toHaveLength(60 - guessed);
  });
});
