/**
 * What clients send to the data plane and the token end-point is text: no part of a statement, of a pattern, of a path on
 * disk, of a header or of a log line.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startTestBerth, type TestBerth } from '../support/berth.ts';
import { clientOf, tokenFor } from '../support/client.ts';
import { factsOf, fewHostileTexts, hostileTexts, injected, troubleIn, unhurried } from '../support/hostile.ts';
import { makeImage, type TestImage } from '../support/images.ts';
import { rawRequest } from '../support/raw.ts';
import { basicOf, createSender, inTurns, type Sender } from '../support/sender.ts';

let berth: TestBerth;
let sender: Sender;
let image: TestImage;

beforeAll(async () => {
  berth = await startTestBerth({
    ...unhurried,
    BERTH_RATE_LIMIT_ANONYMOUS_PULLS_PER_6_HOURS: '1000000',
    BERTH_TRUSTED_PROXIES: '127.0.0.1',
  });
  sender = createSender(berth.url, basicOf(berth.admin));
  image = makeImage();
  const admin = clientOf(berth.url, berth.admin);
  // The first token makes the first key.
  await tokenFor(berth.url, []);
  await admin.request('post', '/api/v1/namespaces').send({ name: 'acme' });
  await admin.pushImage('acme/app', 'v1', image);
  await admin.request('patch', '/api/v1/repositories/acme/app/-').send({ visibility: 'public' });
});
afterAll(async () => {
  sender.close();
  await berth.stop();
});

/** As it goes into a path or a query, and as it is where HTTP allows that. */
function* written(text: string): Generator<string> {
  if (text.isWellFormed()) yield encodeURIComponent(text);
  if (/^[!-~]+$/.test(text) && !/[#?%]/.test(text)) yield text;
}
const escapes = ['%00', '%0d%0ax-injected:%20yes', '%ff', '%', '%zz', '%2f..%2f', '%252e%252e', '%c0%ae', '%ed%a0%80'];

describe('every text of the data plane and the token end-point', () => {
  const digest = `sha256:${'0'.repeat(64)}`;
  const places: readonly (readonly [method: string, template: string])[] = [
    ['GET', '/v2/X/tags/list'], ['GET', '/v2/acme/X/tags/list'], ['GET', '/v2/acme/app/manifests/X'],
    ['PUT', '/v2/acme/app/manifests/X'], ['DELETE', '/v2/acme/app/manifests/X'], ['GET', '/v2/acme/app/blobs/X'],
    ['DELETE', '/v2/acme/app/blobs/X'], ['GET', '/v2/acme/app/referrers/X'], ['GET', '/v2/acme/app/blobs/uploads/X'],
    ['PATCH', '/v2/acme/app/blobs/uploads/X'], ['DELETE', '/v2/acme/app/blobs/uploads/X'],
    ['PUT', `/v2/acme/app/blobs/uploads/X?digest=${digest}`], ['GET', '/v2/acme/app/tags/list?n=X'],
    ['GET', '/v2/acme/app/tags/list?last=X'], ['GET', '/v2/_catalog?last=X'], ['GET', '/v2/_catalog?n=X'],
    ['GET', `/v2/acme/app/referrers/${digest}?artifactType=X`], ['GET', `/v2/acme/app/referrers/${digest}?last=X`],
    ['POST', `/v2/acme/app/blobs/uploads/?mount=${digest}&from=X`], ['POST', '/v2/acme/app/blobs/uploads/?mount=X&from=acme/app'],
    ['POST', '/v2/acme/app/blobs/uploads/?digest=X'], ['POST', '/v2/acme/app/blobs/uploads/?digest-algorithm=X'],
    ['PUT', `/v2/acme/app/manifests/${digest}?tag=X`], ['GET', '/v2/X'], ['GET', '/X'],
    ['GET', '/auth/token?scope=X'], ['GET', '/auth/token?scope=repository:X:pull'], ['GET', '/auth/token?scope=repository:acme/app:X'],
    ['GET', '/auth/token?service=X'], ['GET', '/auth/token?account=X&client_id=X&offline_token=X'], ['GET', '/auth/jwks?X=X'],
  ]; // prettier-ignore

  test('in paths and queries', async () => {
    const before = await factsOf(berth);
    const cases = places.flatMap(([method, template]) =>
      [...hostileTexts.flatMap((text) => [...written(text)]), ...escapes].map((text) => ({
        method,
        path: template.replaceAll('X', () => text),
      })),
    );
    expect(cases.length).toBeGreaterThan(1500);
    const found = await inTurns(cases, async ({ method, path }) => {
      const trouble = troubleIn(await sender.send(path, { method }));
      return trouble === null ? null : `${method} ${path.slice(0, 200)}: ${trouble}`;
    });
    expect(found.filter((each) => each !== null).slice(0, 10)).toEqual([]);
    const after = await factsOf(berth);
    // Uploads were opened; nothing else has changed.
    const without = (all: typeof before): object => ({ ...all, uploads: [], credentials: [] });
    expect(without(after)).toEqual(without(before));
  });

  test('in the fields of the OAuth form, and in names and passwords', async () => {
    const fields = [
      'grant_type',
      'username',
      'password',
      'refresh_token',
      'scope',
      'service',
      'client_id',
      'access_type',
    ];
    const form = { grant_type: 'password', username: 'alice', password: 'wrong', scope: 'repository:acme/app:pull' };
    // Each wrong password costs what a right one costs.
    for (const field of fields)
      for (const text of fewHostileTexts) {
        const grant = field === 'refresh_token' ? { grant_type: 'refresh_token' } : {};
        const answer = await sender.send('/auth/token', {
          method: 'POST',
          headers: { Authorization: '', 'Content-Type': 'application/x-www-form-urlencoded' },
          body: new URLSearchParams({ ...form, ...grant, [field]: text }).toString(),
        });
        expect({ field, text, trouble: troubleIn(answer) }).toEqual({ field, text, trouble: null });
        expect([400, 401]).toContain(answer.status);
      }
    for (const text of fewHostileTexts) {
      const both = [basicOf({ username: text, password: 'x' }), basicOf({ username: 'admin', password: text })];
      for (const headers of both) {
        const answer = await sender.send('/auth/token', { headers });
        expect({ text, status: answer.status, trouble: troubleIn(answer) }).toEqual({
          text,
          status: 401,
          trouble: null,
        });
      }
    }
  });

  test('in headers', async () => {
    const names = ['Accept', 'Content-Type', 'Content-Range', 'Range', 'If-Match', 'If-None-Match', 'If-Range', 'User-Agent',
      'Cookie', 'Origin', 'Referer', 'X-CSRF-Token', 'X-Request-Id', 'X-Forwarded-For', 'X-Forwarded-Proto', 'X-Forwarded-Host',
      'Forwarded', 'Idempotency-Key', 'Sec-Fetch-Site', 'Accept-Language', 'X-HTTP-Method-Override', 'Docker-Upload-UUID']; // prettier-ignore
    // Node sends latin1, and refuses what would end a line.
    const values = fewHostileTexts
      .concat(`\u0085${injected}`, `") OR (""="`, '_', '')
      .filter((text) => /^[\t\u0020-\u007e\u0080-\u00ff]*$/.test(text));
    const requests: [string, string][] = [
      ['GET', '/v2/acme/app/manifests/v1'], ['POST', '/v2/acme/app/blobs/uploads/'], ['GET', '/auth/token'],
      ['POST', '/api/v1/namespaces'],
    ]; // prettier-ignore
    const cases = names.flatMap((name) =>
      values.flatMap((value) => requests.map(([method, path]) => ({ name, value, method, path }))),
    );
    expect(cases.length).toBeGreaterThan(500);
    const found = await inTurns(cases, async ({ name, value, method, path }) => {
      const answer = await sender.send(path, { method, headers: { [name]: value } });
      const trouble = troubleIn(answer);
      return trouble === null ? null : `${method} ${path} ${name}: ${value.slice(0, 60)}: ${trouble}`;
    });
    expect(found.filter((each) => each !== null).slice(0, 10)).toEqual([]);
  });

  test('raw bytes that no client library would send', async () => {
    const heads = [
      `\x00`, `\x01`, `\x7f`, '\xff\xfe', `a\rb`, `\x0b`, `a\x00b`, `\x1b[2J`,
    ]; // prettier-ignore
    for (const bytes of heads)
      for (const [name, target] of [
        ['User-Agent', '/v2/'],
        ['X-Forwarded-For', '/v2/acme/app/manifests/v1'],
        ['Authorization', '/auth/token'],
        ['Cookie', '/api/v1/session'],
      ] as const) {
        const answer = await rawRequest(berth.port, { target, headers: [[name, bytes]] });
        expect(answer.status).toBeLessThan(500);
        expect(answer.headers).not.toHaveProperty(injected);
      }
  });
});

test('what a proxy passes on becomes no header of an answer, and no line of its own in the log', async () => {
  // A proxy passes on whatever was written to it.
  for (const text of [`1.2.3.4"; x=y`, `<script>`, `'; DROP TABLE users`, 'a'.repeat(5000), '::1%25eth0']) {
    const answer = await sender.send('/v2/acme/app/manifests/v1', {
      headers: { Authorization: '', 'X-Forwarded-For': text },
    });
    expect(answer.status).toBeLessThan(500);
    expect(answer.headers['docker-ratelimit-source'] ?? '').toMatch(/^[0-9a-fA-F.:/]{0,50}$/);
  }
  for (const line of berth.logs) expect(line).toHaveProperty('level');
});
