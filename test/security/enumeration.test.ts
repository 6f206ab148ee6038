/**
 * What a stranger may not see does not exist: for every operation of the API that takes a name, and every address of the
 * data plane, the answer about something hidden is the answer about nothing at all. Generated from the served openapi.json.
 */
import jwt from 'jsonwebtoken';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startTestBerth, type TestBerth } from '../support/berth.ts';
import { addressOf, bodyFor, declaredOperations, type Declared } from '../support/declared.ts';
import {
  makeHiddenWorld,
  namePlacesOf,
  planeRequests,
  seenIn,
  type HiddenWorld,
  type Kind,
  type NamePlace,
} from '../support/hidden-world.ts';
import { basicOf, createSender, inTurns, type Sender, type Sent } from '../support/sender.ts';
import { startMailServer, type TestMailServer } from '../support/smtp.ts';

/** Operations that name nothing, or only things of the caller's own. One that is new fails here until it was thought about. */
const withoutNames = [
  'getOpenApi', 'listNamespaces', 'listReceivedInvitations', 'listSigningKeys', 'rotateSigningKey', 'getStorageHold', 'holdStorage', 'releaseStorage', 'listTokens',
  'createToken', 'acceptMailedInvitation', 'getSession', 'signOut', 'listSessions', 'signOutEverywhere', 'getAccount',
  'verifyOwnEmail', 'changePassword', 'beginSecondFactor', 'removeSecondFactor', 'confirmSecondFactor', 'renewRecoveryCodes',
  'resetPassword', 'verifyEmail',
]; // prettier-ignore

/** Where the answer must tell: who takes a name learns that it is taken. With the same words for reserved ones. */
const telling: readonly string[] = ['createOrganization body.name'];

let berth: TestBerth;
let mailServer: TestMailServer;
let world: HiddenWorld;
let sender: Sender;
let operations: readonly Declared[];

beforeAll(async () => {
  mailServer = await startMailServer();
  berth = await startTestBerth({
    // Whatever can be asked for without an account is open.
    BERTH_SMTP_URL: mailServer.url,
    BERTH_MAIL_FROM: 'berth@example.com',
    BERTH_PUBLIC_URL: 'http://registry.example.com',
    BERTH_REGISTRATION: 'open',
    BERTH_RATE_LIMIT_MAILS_PER_ADDRESS_PER_HOUR: '0',
    BERTH_SIGN_IN_FAILURES_FREE: '0',
    BERTH_SIGN_IN_FAILURES_PER_ADDRESS_FREE: '0',
    BERTH_SIGN_IN_FAILURES_PER_ACCOUNT_FREE: '0',
    BERTH_RATE_LIMIT_SIGN_INS_PER_ADDRESS_PER_MINUTE: '0',
    BERTH_RATE_LIMIT_SIGN_INS_PER_ACCOUNT_PER_MINUTE: '0',
  });
  world = await makeHiddenWorld(berth);
  sender = createSender(berth.url);
  operations = await declaredOperations(berth.url);
});
afterAll(async () => {
  sender.close();
  await berth.stop();
  await mailServer.close();
});

test('every operation takes a name, or is known not to', () => {
  const nameless = operations.filter((operation) => namePlacesOf(operation).length === 0).map(({ id }) => id);
  expect(nameless.toSorted()).toEqual(withoutNames.toSorted());
});

type Names = Readonly<Record<Kind, string>>;

/** What else stands in the request: hidden things, things that are not there, or the stranger's own. */
function surroundings(): readonly Names[] {
  const firsts = (all: Readonly<Record<Kind, readonly string[]>>): Names =>
    Object.fromEntries(Object.entries(all).map(([kind, [first]]) => [kind, first])) as Names;
  return [firsts(world.existing), firsts(world.absent), world.own];
}

function ask(
  operation: Declared,
  places: readonly NamePlace[],
  names: Names,
  asked: NamePlace,
  value: string,
  headers: object,
  query: Readonly<Record<string, string>>,
): Promise<Sent> {
  const valueAt = (place: NamePlace): string => (place === asked ? value : names[place.kind]);
  const at = (where: NamePlace['where']): Record<string, string> =>
    Object.fromEntries(places.filter((place) => place.where === where).map((place) => [place.name, valueAt(place)]));
  // Of the query only what is asked about, or must be there.
  const needed = new Set(operation.parameters.filter(({ required }) => required).map(({ name }) => name));
  const inQuery = Object.entries(at('query')).filter(([name]) => needed.has(name) || name === asked.name);
  const body = bodyFor(operation);
  return sender.send(addressOf(operation, { path: at('path'), query: { ...Object.fromEntries(inQuery), ...query } }), {
    method: operation.method,
    headers: { ...headers },
    body: body === undefined ? undefined : { ...(body as object), ...at('body') },
  });
}

test('no operation of the API tells a stranger whether something is there', async () => {
  // What reads comes first: the audit log shows everybody what they tried to change themselves.
  const inOrder = operations.toSorted((a, b) => Number(a.method !== 'GET') - Number(b.method !== 'GET'));
  const cases = inOrder.flatMap((operation) => {
    const places = namePlacesOf(operation);
    const plain = { headers: {}, query: {} };
    const variants = [
      plain,
      ...(operation.method === 'GET' ? [] : [{ ...plain, headers: { 'If-Match': '"none"' } }]),
      ...(operation.parameters.some(({ name }) => name === 'dry_run') ? [{ ...plain, query: { dry_run: '1' } }] : []),
    ];
    // What stands beside a name makes a difference only where there is something beside it.
    const around = places.length > 1 ? surroundings() : surroundings().slice(0, 1);
    const situations = Object.entries(world.strangers).flatMap(([who, headers]) =>
      who === 'an account'
        ? variants.flatMap((variant) => around.map((names) => ({ who, headers, variant, names, all: true })))
        : [{ who, headers, variant: plain, names: around[0]!, all: false }],
    );
    return places
      .filter(({ where, name }) => !telling.includes(`${operation.id} ${where}.${name}`))
      .flatMap((place) => situations.map((situation) => ({ ...situation, operation, places, place })));
  });
  let answers = 0;
  const leaks = await inTurns(cases, async ({ operation, places, place, variant, who, headers, names, all }) => {
    const [reference, ...others] = world.absent[place.kind];
    const values = all ? [...world.existing[place.kind], ...others] : [world.existing[place.kind][0]!];
    const about = async (value: string): Promise<unknown> => {
      answers += 1;
      const answer = await ask(
        operation,
        places,
        names,
        place,
        value,
        { ...headers, ...variant.headers },
        variant.query,
      );
      return seenIn(answer, ...[value, ...Object.values(names)].flatMap((name) => [name, name.split('/')[0]!]));
    };
    const expected = await about(reference!);
    for (const value of values) {
      const seen = await about(value);
      if (JSON.stringify(seen) !== JSON.stringify(expected))
        return {
          asked: `${operation.id} ${place.where}.${place.name}=${value}`,
          who,
          beside: names.namespace,
          seen,
          expected,
        };
    }
    return null;
  });
  expect(leaks.filter((leak) => leak !== null).slice(0, 5)).toEqual([]);
  expect(answers).toBeGreaterThan(1000);
});

test('no listing shows a stranger anything of it', async () => {
  const listings = operations.filter(
    ({ method, parameters }) => method === 'GET' && parameters.every(({ in: where }) => where !== 'path'),
  );
  const paths = [...listings.map((operation) => addressOf(operation)), '/v2/_catalog', '/v2/_catalog?last=g&n=5'];
  // Somebody who has not asked for anything yet: the audit log shows everybody what they asked for themselves.
  const strangers = { nobody: {}, 'a new account': basicOf(await berth.addUser('mallet')) };
  for (const [who, headers] of Object.entries(strangers)) {
    for (const path of paths.filter((each) => !each.endsWith('/openapi.json'))) {
      const { text } = await sender.send(path, { headers });
      expect(`${who} ${path} ${text}`).not.toMatch(/hidden|adalov|robert|carole|backend|secret-token/);
    }
  }
});

test('what a stranger tried to do to it stands in the audit log just as what was tried with nothing', async () => {
  // Another server: what the tests above were denied waits to be written for minutes.
  const quiet = await startTestBerth();
  const asking = createSender(quiet.url);
  try {
    await makeHiddenWorld(quiet);
    const headers = basicOf(await quiet.addUser('trudy'));
    const attempts = (name: string): [method: string, path: string, body?: object][] => [
      ['DELETE', `/api/v1/repositories/${name}/app/-`],
      ['PATCH', `/api/v1/repositories/${name}/app/-`, { visibility: 'public' }],
      ['PATCH', `/api/v1/namespaces/${name}`, { description: 'mine' }],
      ['PUT', `/api/v1/namespaces/${name}/members/trudy`, { role: 'owner' }],
      ['DELETE', `/v2/${name}/app/manifests/v1`],
      ['POST', `/v2/${name}/app/blobs/uploads/`],
    ];
    const names = ['hidden', 'absent'];
    for (const name of names)
      for (const [method, path, body] of attempts(name)) await asking.send(path, { method, headers, body });
    const logged = async (name: string, query: string): Promise<string[]> => {
      const { json } = await asking.send(`/api/v1/audit?${query.replaceAll('X', name)}`, { headers });
      const { items } = json as { items: { action: string; target: string; reason: string }[] };
      return items
        .map(({ action, target, reason }) => `${action} ${target} ${reason}`.replaceAll(name, 'NAME'))
        .toSorted();
    };
    // They are written behind the answers.
    for (const name of names)
      await expect.poll(() => logged(name, 'target=X*'), { timeout: 10_000 }).toHaveLength(attempts(name).length);
    for (const query of [
      'namespace=X',
      'repository=X/app',
      'target=X/app',
      'who=trudy&target=X',
      'who=adalov',
      'target=X/app&action=repository.',
    ])
      expect(await logged('hidden', query), query).toEqual(await logged('absent', query));
  } finally {
    asking.close();
    await quiet.stop();
  }
});

test("whose an address is, is told to nobody who wants it, but by the address's own mail", async () => {
  for (const email of ['carole@example.com', 'absent@example.com']) {
    const login = await berth.addUser(email.replace('@', '-'));
    const headers = basicOf(login);
    const body = { email, password: login.password };
    const changed = await sender.send('/api/v1/account', { method: 'PATCH', headers, body });
    expect(changed.status).toBe(200);
    expect(changed.json).toMatchObject({ email: null, emailVerified: false, pendingEmail: email });
    expect((await sender.send('/api/v1/account', { headers })).text).toBe(changed.text);
  }
});

describe('the data plane', () => {
  const pairs = [
    ['hidden/app', 'hidden/abs'],
    ['hidden/app', 'absent/app'],
    ['hidden/was', 'hidden/abs'],
    ['hidden/now', 'nobdys/app'],
    ['carole/app', 'absent/app'],
  ] as const;
  const told = (answer: Sent, name: string): string => {
    const { json } = answer;
    const token = (json as { token?: string } | undefined)?.token;
    const seen = seenIn(answer, name, name.split('/')[0]!);
    if (token === undefined) return JSON.stringify(seen);
    // Every token is another one; what counts is what it is good for.
    const { access, sub } = jwt.decode(token) as jwt.JwtPayload;
    return JSON.stringify({ access, sub, scope: (json as { scope: string }).scope });
  };

  test.each(pairs)('%s is as much there as %s', async (hidden, absent) => {
    for (const [who, headers] of Object.entries(world.strangers)) {
      // The token end-point knows no Bearer.
      const requests = planeRequests('NAME', world).filter(
        ({ path }) => !path.startsWith('/auth/') || !('Authorization' in headers) || who === 'an account',
      );
      for (const { what, path, ...options } of requests) {
        const [there, nowhere] = await Promise.all(
          [hidden, absent].map(async (name) => {
            const answer = await sender.send(path.replaceAll('NAME', name), {
              ...options,
              headers: { ...headers, ...options.headers },
            });
            return told(answer, name);
          }),
        );
        expect(`${who}, ${what}: ${there}`).toBe(`${who}, ${what}: ${nowhere}`);
      }
    }
  });

  test('a digest known from elsewhere gives nothing: it cannot be mounted, named or asked for', async () => {
    const { image, strangers } = world;
    const known = [image.config, ...image.layers, image].map(({ digest }) => digest);
    const unknown = `sha256:${'1'.repeat(64)}`;
    for (const [who, headers] of Object.entries(strangers).filter(([each]) => each !== 'nobody')) {
      const mount = async (digest: string, from: string) => {
        const query = new URLSearchParams({ mount: digest, ...(from !== '' && { from }) });
        const answer = await sender.send(`/v2/evilco/own/blobs/uploads/?${query.toString()}`, {
          method: 'POST',
          headers,
        });
        const { location = '', 'docker-upload-uuid': _id, ...rest } = answer.headers;
        const at = location.replace(/[\w-]{20,}/, 'ID');
        return seenIn({ ...answer, headers: { ...rest, location: at } }, from);
      };
      for (const digest of known) {
        for (const from of ['hidden/app', 'hidden/abs', '']) expect(await mount(digest, from), who).toEqual(await mount(unknown, 'absent/app')); // prettier-ignore
        const blob = await sender.send(`/v2/evilco/own/blobs/${digest}`, { headers });
        const none = await sender.send(`/v2/evilco/own/blobs/${unknown}`, { headers });
        expect(seenIn(blob, digest), who).toEqual(seenIn(none, unknown));
      }
      const push = (config: string) =>
        sender.send('/v2/evilco/own/manifests/stolen', {
          method: 'PUT',
          headers: { ...headers, 'Content-Type': image.mediaType },
          body: image.bytes.toString().replace(image.config.digest, config),
        });
      const [stolen, invented] = [await push(image.config.digest), await push(unknown)];
      expect(seenIn(stolen, image.config.digest), who).toEqual(seenIn(invented, unknown));
    }
  });
});
