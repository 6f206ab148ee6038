/**
 * What another site's page can make a browser send: every change of the API, with the visitor's own session cookie and
 * without what only our page knows. And what such a page cannot do even once: sign its visitor in as somebody else.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { csrfTokenOf } from '../../src/http/api/csrf.ts';
import { startTestBerth, type Login, type TestBerth } from '../support/berth.ts';
import { clientOf } from '../support/client.ts';
import { addressOf, bodyFor, declaredOperations, type Declared } from '../support/declared.ts';
import { factsOf } from '../support/hostile.ts';
import { makeImage } from '../support/images.ts';
import { cookieOf, signIn, trySignIn } from '../support/people.ts';
import { basicOf, createSender, inTurns, type Sender, type Sent } from '../support/sender.ts';

let berth: TestBerth;
let sender: Sender;
let changes: readonly Declared[];
/** The visitor: an administrator, so that nothing but the origin of a request could stand in its way. */
let session: string;
/** A second session of the same account, and one of the attacker. */
let other: string;
let evil: string;
let eve: Login;

beforeAll(async () => {
  berth = await startTestBerth();
  sender = createSender(berth.url);
  changes = (await declaredOperations(berth.url)).filter(({ method }) => method !== 'GET');
  eve = await berth.addUser('eve');
  await berth.addUser('ada');
  await clientOf(berth.url, berth.admin).request('post', '/api/v1/namespaces').send({ name: 'acme' });
  await clientOf(berth.url, berth.admin).pushImage('acme/app', 'v1', makeImage());
  [session, other, evil] = (await Promise.all(
    [berth.admin, berth.admin, eve].map(async (login) => (await signIn(berth.url, login)).session),
  )) as [string, string, string];
});
afterAll(async () => {
  sender.close();
  await berth.stop();
});

const cookie = (secret = session): { Cookie: string } => ({ Cookie: `theme=dark; berth_session=${secret}; x=y` });

function ask(operation: Declared, headers: Readonly<Record<string, string>>, body?: string): Promise<Sent> {
  const name = operation.template.includes('/repositories/')
    ? 'acme/app'
    : operation.template.includes('/users/')
      ? 'ada'
      : 'acme';
  return sender.send(addressOf(operation, { path: { name, namespace: 'acme', user: 'ada' } }), {
    method: operation.method,
    headers: { 'Content-Type': 'application/json', ...headers },
    body: body ?? (operation.body === undefined ? undefined : JSON.stringify(bodyFor(operation))),
  });
}

/** By what a page of another site would have to send. */
const attacks = (): Readonly<Record<string, Readonly<Record<string, string>>>> => {
  const token = { 'X-CSRF-Token': csrfTokenOf(session) };
  return {
    'without a token': {},
    'with an empty token': { 'X-CSRF-Token': '' },
    'with a wrong token': { 'X-CSRF-Token': csrfTokenOf('another secret') },
    'with the token of another session of the same person': { 'X-CSRF-Token': csrfTokenOf(other) },
    "with the token of the attacker's own session": { 'X-CSRF-Token': csrfTokenOf(evil) },
    'with the cookie as the token': { 'X-CSRF-Token': session },
    'with the token twice': { 'X-CSRF-Token': `${token['X-CSRF-Token']},${token['X-CSRF-Token']}` },
    'with the token under another name': { 'X-XSRF-Token': token['X-CSRF-Token'], 'CSRF-Token': token['X-CSRF-Token'] },
    'from another site': { ...token, Origin: 'https://evil.example' },
    'from another port': { ...token, Origin: 'http://127.0.0.1:1' },
    'from the same host by https': { ...token, Origin: berth.url.replace('http:', 'https:') },
    'from a host that ends alike': { ...token, Origin: `http://evil${berth.host}` },
    'from a host that begins alike': { ...token, Origin: `${berth.url}.evil.example` },
    'from a page without an origin': { ...token, Origin: 'null' },
    'from an empty origin': { ...token, Origin: '' },
    'from another site, as the browser says': { ...token, 'Sec-Fetch-Site': 'cross-site' },
    'from a neighbour, as the browser says': { ...token, 'Sec-Fetch-Site': 'same-site' },
    'from the bar of the browser': { ...token, 'Sec-Fetch-Site': 'none' },
    'from somewhere new': { ...token, 'Sec-Fetch-Site': 'unheard-of' },
    'by our origin, but from another site': { ...token, Origin: berth.url, 'Sec-Fetch-Site': 'cross-site' },
  };
};

describe('a change with the cookie of a session', () => {
  test('is refused in every operation that another site’s page could ask for, and nothing is done', async () => {
    const before = await factsOf(berth);
    const cases = changes.flatMap((operation) =>
      Object.entries(attacks()).map(([how, headers]) => ({ operation, how, headers })),
    );
    expect(cases.length).toBeGreaterThan(500);
    const done = await inTurns(cases, async ({ operation, how, headers }) => {
      const { status, text } = await ask(operation, { ...cookie(), ...headers });
      const refused =
        status === 403 && text.includes('urn:berth:problem:forbidden') && /X-CSRF-Token|another site/.test(text);
      return refused ? null : `${operation.id} ${how}: ${status} ${text.slice(0, 200)}`;
    });
    expect(done.filter((each) => each !== null)).toEqual([]);
    expect(await factsOf(berth)).toEqual(before);
  });

  test('is refused as a form sends it, even from our own origin: no form can say what must be JSON', async () => {
    const before = await factsOf(berth);
    const own = { ...cookie(), 'X-CSRF-Token': csrfTokenOf(session), Origin: berth.url };
    const types = [
      'text/plain',
      'text/plain;charset=UTF-8',
      'application/x-www-form-urlencoded',
      'multipart/form-data; boundary=x',
      '',
    ];
    for (const operation of changes.filter(({ body }) => body !== undefined)) {
      for (const type of [
        ...types,
        'text/json',
        'application/jsonx',
        'application/json; charset=utf-7',
        'application/csp-report',
      ]) {
        const { status, text } = await ask(operation, { ...own, 'Content-Type': type });
        expect({ id: operation.id, type, status, text }).toMatchObject({ id: operation.id, type, status: 415 });
      }
    }
    expect(await factsOf(berth)).toEqual(before);
  });

  test('is no other one because a header or a parameter says so', async () => {
    const before = await factsOf(berth);
    const headers = { ...cookie(), 'X-CSRF-Token': csrfTokenOf(session), Origin: berth.url };
    const overrides = ['X-HTTP-Method-Override', 'X-HTTP-Method', 'X-Method-Override'];
    for (const operation of changes.filter(({ method }) => method !== 'POST')) {
      for (const method of ['GET', 'POST'] as const) {
        const asking = { ...operation, method } as Declared;
        for (const name of overrides) {
          const { status } = await ask({ ...asking, body: undefined }, { ...headers, [name]: operation.method });
          expect({ id: operation.id, method, status: status < 500 && status !== 204 && status !== 201 }).toEqual({ id: operation.id, method, status: true }); // prettier-ignore
        }
        const target = addressOf(operation, { path: { name: 'acme/app', namespace: 'acme', user: 'ada' } });
        await sender.send(`${target}?_method=${operation.method}`, { method, headers });
      }
    }
    // What POSTs there are beside were asked without what they need.
    const after = await factsOf(berth);
    const counts = (all: typeof before): object => Object.fromEntries(Object.entries(all).map(([name, rows]) => [name, rows.length])); // prettier-ignore
    expect(counts(after)).toEqual(counts(before));
  });

  test('is done from our own page', async () => {
    const own = [
      {},
      { Origin: berth.url },
      { 'Sec-Fetch-Site': 'same-origin' },
      { Origin: berth.url, 'Sec-Fetch-Site': 'same-origin', 'Sec-Fetch-Mode': 'cors' },
    ];
    for (const [i, headers] of own.entries()) {
      const answer = await sender.send('/api/v1/namespaces', {
        method: 'POST',
        headers: { ...cookie(), 'X-CSRF-Token': csrfTokenOf(session), ...headers },
        body: { name: `own-${i}` },
      });
      expect(answer.status).toBe(201);
    }
  });
});

test('reading changes nothing, in whatever way it is asked', async () => {
  const before = await factsOf(berth);
  const reads = (await declaredOperations(berth.url)).filter(({ method }) => method === 'GET');
  for (const operation of reads) {
    const name = operation.template.includes('/repositories/')
      ? 'acme/app'
      : operation.template.includes('/users/')
        ? 'ada'
        : 'acme';
    const target = addressOf(operation, { path: { name, namespace: 'acme', user: 'ada' } });
    for (const method of ['GET', 'HEAD', 'OPTIONS'])
      for (const body of [undefined, '{"admin":true}']) {
        const { status } = await sender.send(target, { method, headers: cookie(), body });
        expect(status).toBeLessThan(500);
      }
  }
  expect(await factsOf(berth)).toEqual(before);
});

test('no answer invites the scripts of other sites', async () => {
  const headers = { ...cookie(), Origin: 'https://evil.example' };
  const preflight = {
    ...headers,
    'Access-Control-Request-Method': 'DELETE',
    'Access-Control-Request-Headers': 'x-csrf-token',
  };
  for (const target of [
    '/api/v1/session',
    '/api/v1/tokens',
    '/api/v1/openapi.json',
    '/auth/token',
    '/v2/',
    '/auth/jwks',
  ])
    for (const options of [{ headers }, { headers: preflight, method: 'OPTIONS' }]) {
      const answer = await sender.send(target, options);
      expect(Object.keys(answer.headers).filter((name) => name.startsWith('access-control-'))).toEqual([]);
    }
  // Nor may anybody frame one, or guess that it is a page.
  const { headers: seen } = await sender.send('/api/v1/session', { headers: cookie() });
  expect(seen['content-security-policy']).toContain("frame-ancestors 'none'");
  expect(seen['x-content-type-options']).toBe('nosniff');
  expect(seen['cache-control']).toBe('no-store');
});

describe('signing in', () => {
  const body = (): object => ({ username: eve.username, password: eve.password });

  test('cannot be done to a visitor of another site, signed in or not', async () => {
    const before = await factsOf(berth);
    const from = [
      { Origin: 'https://evil.example' },
      { Origin: 'null' },
      { 'Sec-Fetch-Site': 'cross-site' },
      { 'Sec-Fetch-Site': 'same-site' },
    ];
    for (const headers of from)
      for (const visitor of [{}, cookie()]) {
        const answer = await sender.send('/api/v1/session', {
          method: 'POST',
          headers: { ...visitor, ...headers },
          body: body(),
        });
        expect(answer.status).toBe(403);
        expect(answer.headers['set-cookie']).toBeUndefined();
      }
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x']) {
      const answer = await sender.send('/api/v1/session', {
        method: 'POST',
        headers: { 'Content-Type': type },
        body: JSON.stringify(body()),
      });
      expect(answer.status).toBe(415);
      expect(answer.headers['set-cookie']).toBeUndefined();
    }
    expect(await factsOf(berth)).toEqual(before);
  });

  test('takes no name and password from the address', async () => {
    const query = new URLSearchParams({ username: eve.username, password: eve.password }).toString();
    for (const method of ['GET', 'POST', 'PUT']) {
      const answer = await sender.send(`/api/v1/session?${query}`, { method });
      expect(answer.status).toBeGreaterThanOrEqual(400);
      expect(answer.headers['set-cookie']).toBeUndefined();
    }
  });
});

test('whoever shows a credential of their own is no browser that was led astray, whatever else the request says', async () => {
  const made = await sender.send('/api/v1/tokens', {
    method: 'POST',
    headers: basicOf(berth.admin),
    body: { name: 'free', grants: [], apiScopes: ['organizations:write'] },
  });
  const { secret } = made.json as { secret: string };
  const far = { Origin: 'https://tool.example', 'Sec-Fetch-Site': 'cross-site' };
  for (const [i, headers] of [basicOf(berth.admin), { Authorization: `Bearer ${secret}` }].entries()) {
    const post = (name: string, more: object) =>
      sender.send('/api/v1/namespaces', { method: 'POST', headers: { ...headers, ...more }, body: { name } });
    expect((await post(`free-${i}`, far)).status).toBe(201);
    // A cookie beside it counts for nothing.
    const beside = await post(`beside-${i}`, { ...far, ...cookie(evil) });
    expect(beside.status).toBe(201);
    expect(beside.json).toMatchObject({ role: 'owner' });
    expect((await sender.send(`/api/v1/namespaces/beside-${i}`, { headers: cookie(evil) })).status).toBe(404);
  }
  // And one that is wrong is not made good by it.
  const wrong = await sender.send('/api/v1/account', { headers: { Authorization: 'Bearer wrong', ...cookie() } });
  expect(wrong.status).toBe(401);
});

describe('the cookie', () => {
  const attributesOf = (answer: Sent | Awaited<ReturnType<typeof trySignIn>>): string[] => {
    const [line] = (answer.headers['set-cookie'] ?? []) as unknown as string[];
    return line!.split('; ').map((part) => part.replace(/=.*$/s, (value) => (/^=(bth_|$)/.test(value) ? '' : value)));
  };

  test('by http on this machine: for no script, and for no request of another site', async () => {
    const answer = await trySignIn(berth.url, eve);
    expect(attributesOf(answer)).toEqual([
      'berth_session', expect.stringMatching(/^Max-Age=\d+$/), 'Path=/', 'HttpOnly', 'SameSite=Lax',
    ]); // prettier-ignore
    expect(cookieOf(answer)).toMatch(/^bth_/);
  });

  test('behind a trusted proxy by https: bound to https and to this very host', async () => {
    const proxied = await startTestBerth({ BERTH_TRUSTED_PROXIES: '127.0.0.1' });
    const through = createSender(proxied.url, {
      'X-Forwarded-Proto': 'https',
      'X-Forwarded-Host': 'registry.example.com',
    });
    try {
      const login = await proxied.addUser('ada');
      const answer = await through.send('/api/v1/session', { method: 'POST', body: login });
      expect(answer.status).toBe(201);
      expect(attributesOf(answer)).toEqual([
        '__Host-berth_session', expect.stringMatching(/^Max-Age=\d+$/), 'Path=/', 'HttpOnly', 'SameSite=Lax', 'Secure',
      ]); // prettier-ignore
      const secret = /=(bth_\w+);/.exec(answer.headers['set-cookie']![0]!)![1]!;
      const who = async (name: string): Promise<unknown> =>
        (await through.send('/api/v1/session', { headers: { Cookie: `${name}=${secret}` } })).json;
      expect(await who('__Host-berth_session')).toMatchObject({ user: { name: 'ada' } });
      // A neighbour could plant one without the prefix.
      for (const name of ['berth_session', '__host-berth_session', '__Secure-berth_session', ' __Host-berth_session x'])
        expect(await who(name)).toMatchObject({ user: null });
      const change = (Origin: string) =>
        through.send('/api/v1/namespaces', {
          method: 'POST',
          headers: { Cookie: `__Host-berth_session=${secret}`, 'X-CSRF-Token': csrfTokenOf(secret), Origin },
          body: { name: 'acme' },
        });
      for (const origin of ['http://registry.example.com', proxied.url, 'https://registry.example.com:8443'])
        expect((await change(origin)).status).toBe(403);
      expect((await change('https://registry.example.com')).status).toBe(201);
    } finally {
      through.close();
      await proxied.stop();
    }
  });

  test('by https that only the client claims: as by http', async () => {
    const claimed = await sender.send('/api/v1/session', {
      method: 'POST',
      headers: { 'X-Forwarded-Proto': 'https', 'X-Forwarded-Host': 'registry.example.com', Forwarded: 'proto=https' },
      body: { username: eve.username, password: eve.password },
    });
    expect(claimed.status).toBe(201);
    expect(attributesOf(claimed)[0]).toBe('berth_session');
    expect(attributesOf(claimed)).not.toContain('Secure');
  });
});
