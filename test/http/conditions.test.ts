/**
 * Conditional requests, RFC 9110 section 13: "Clients MAY use a conditional HTTP push for registries that support ETag
 * conditions" (https://github.com/opencontainers/distribution-spec/blob/main/spec.md#referrers-tag-schema).
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { digestOf } from '../../src/oci/digest.ts';
import { expectErrors } from '../support/answers.ts';
import { startTestBerth, type TestBerth } from '../support/berth.ts';
import { clientOf, type Client } from '../support/client.ts';
import { makeImage, randomContent, type TestImage } from '../support/images.ts';

let berth: TestBerth;
let admin: Client;
beforeAll(async () => {
  berth = await startTestBerth();
  admin = clientOf(berth.url, berth.admin);
});
afterAll(() => berth.stop());

const name = 'acme/conditions';
const other = `"${digestOf('another content')}"`;

/** An image whose blobs are there, but not its manifest. */
async function pushedBlobs(): Promise<TestImage> {
  const image = makeImage();
  for (const blob of [image.config, ...image.layers]) await admin.pushBlob(name, blob);
  return image;
}

function put(image: TestImage, reference: string, headers: Record<string, string>) {
  const request = admin.request('put', `/v2/${name}/manifests/${reference}`).set('Content-Type', image.mediaType);
  return request.set(headers).send(image.bytes.toString());
}

async function digestAt(reference: string): Promise<string | null> {
  const answer = await admin.request('head', `/v2/${name}/manifests/${reference}`);
  return answer.status === 404 ? null : answer.headers['docker-content-digest']!;
}

function statusesOf(answers: readonly { status: number }[]): number[] {
  return answers.map(({ status }) => status).toSorted((a, b) => a - b);
}

describe('If-None-Match on a pull', () => {
  test('304 without a body while the client has it, 200 otherwise: manifests by tag and digest, small and large blobs', async () => {
    const image = makeImage({ layers: [randomContent(200_000)] });
    await admin.pushImage(name, 'pull', image);
    for (const [path, digest] of [
      ['manifests/pull', image.digest],
      [`manifests/${image.digest}`, image.digest],
      [`blobs/${image.config.digest}`, image.config.digest],
      [`blobs/${image.layers[0]!.digest}`, image.layers[0]!.digest],
    ] as const) {
      const etag = `"${digest}"`;
      for (const method of ['get', 'head'] as const) {
        for (const value of [etag, `W/${etag}`, `${other}, ${etag}`, '*']) {
          const answer = await admin.request(method, `/v2/${name}/${path}`).set('If-None-Match', value);
          expect(answer.status, `${method} ${path} ${value}`).toBe(304);
          expect(answer.headers).toMatchObject({ etag, 'docker-content-digest': digest });
          expect(answer.headers['content-length']).toBeUndefined();
        }
        const answer = await admin.request(method, `/v2/${name}/${path}`).set('If-None-Match', other);
        expect(answer.status).toBe(200);
      }
    }
  });

  test('a tag that moved is 200 again', async () => {
    const [first, second] = [makeImage(), makeImage()];
    await admin.pushImage(name, 'moving', first);
    await admin.pushImage(name, 'moving', second);
    const answer = await admin.request('get', `/v2/${name}/manifests/moving`).set('If-None-Match', `"${first.digest}"`);
    expect(answer.status).toBe(200);
    expect(answer.headers['etag']).toBe(`"${second.digest}"`);
  });

  test('what is not there is 404, whatever the client has', async () => {
    await admin.pushImage(name, 'there', makeImage());
    for (const path of ['manifests/absent', `blobs/${digestOf('absent')}`]) {
      const answer = await admin.request('get', `/v2/${name}/${path}`).set('If-None-Match', '*');
      expect(answer.status).toBe(404);
    }
  });

  test('what a digest names may be kept for ever by the client itself; a tag must be asked for again', async () => {
    const image = makeImage();
    await admin.pushImage(name, 'cached', image);
    const cached = async (path: string) => (await admin.request('get', `/v2/${name}/${path}`)).headers['cache-control'];
    expect(await cached(`manifests/${image.digest}`)).toBe('private, max-age=31536000, immutable');
    expect(await cached(`blobs/${image.config.digest}`)).toBe('private, max-age=31536000, immutable');
    expect(await cached('manifests/cached')).toBe('private, no-cache');
  });
});

describe('If-None-Match: * on a push', () => {
  test('a tag that does not exist is made', async () => {
    const image = await pushedBlobs();
    expect((await put(image, 'new', { 'If-None-Match': '*' })).status).toBe(201);
    expect(await digestAt('new')).toBe(image.digest);
  });

  test('a tag that exists is 412, also with the same manifest, and nothing has changed', async () => {
    const [first, second] = [makeImage(), await pushedBlobs()];
    await admin.pushImage(name, 'taken', first);
    for (const image of [second, first]) {
      const [error] = expectErrors(await put(image, 'taken', { 'If-None-Match': '*' }), 412, 'DENIED');
      expect(error!.detail).toEqual({ tag: 'taken', digest: first.digest });
    }
    expect(await digestAt('taken')).toBe(first.digest);
    expect(await digestAt(second.digest)).toBeNull();
    const moves = await berth.database.query(`SELECT id FROM tag_history WHERE name = 'taken'`);
    expect(moves).toHaveLength(1);
  });

  test('of several tags in one push, one that exists refuses them all', async () => {
    const [first, second] = [makeImage(), await pushedBlobs()];
    await admin.pushImage(name, 'one-of-two', first);
    const answer = await put(second, `${second.digest}?tag=a-new-one&tag=one-of-two`, { 'If-None-Match': '*' });
    expectErrors(answer, 412, 'DENIED');
    expect(await digestAt('a-new-one')).toBeNull();
    expect(await digestAt(second.digest)).toBeNull();
  });

  test('of many clients that make the same tag at once, one succeeds', async () => {
    const images = await Promise.all(Array.from({ length: 8 }, pushedBlobs));
    const answers = await Promise.all(images.map((image) => put(image, 'race', { 'If-None-Match': '*' })));
    expect(statusesOf(answers)).toEqual([201, ...Array(7).fill(412)]);
    const winner = images[answers.findIndex(({ status }) => status === 201)]!;
    expect(await digestAt('race')).toBe(winner.digest);
  });
});

describe('If-Match on a push', () => {
  test.each([
    ['the digest that the tag has', (digest: string) => `"${digest}"`],
    ['it among others', (digest: string) => `${other}, "${digest}"`],
    ['whatever it has', () => '*'],
  ])('the tag moves when the client names %s', async (_, value) => {
    const [first, second] = [makeImage(), await pushedBlobs()];
    await admin.pushImage(name, 'match', first);
    expect((await put(second, 'match', { 'If-Match': value(first.digest) })).status).toBe(201);
    expect(await digestAt('match')).toBe(second.digest);
  });

  test.each([
    ['another digest', other],
    ['a weak ETag, which never matches here', undefined],
    ['no ETag', 'nonsense'],
  ])('412, and nothing has changed, when the client names %s', async (_, value) => {
    const [first, second] = [makeImage(), await pushedBlobs()];
    await admin.pushImage(name, 'no-match', first);
    expectErrors(await put(second, 'no-match', { 'If-Match': value ?? `W/"${first.digest}"` }), 412, 'DENIED');
    expect(await digestAt('no-match')).toBe(first.digest);
    expect(await digestAt(second.digest)).toBeNull();
  });

  test.each(['*', other])('412 when there is no such tag: %s', async (value) => {
    const image = await pushedBlobs();
    expectErrors(await put(image, 'nowhere', { 'If-Match': value }), 412, 'DENIED');
    expect(await digestAt('nowhere')).toBeNull();
  });

  test('of many clients that move the tag from the same state at once, one succeeds', async () => {
    const first = makeImage();
    await admin.pushImage(name, 'counter', first);
    const images = await Promise.all(Array.from({ length: 8 }, pushedBlobs));
    const answers = await Promise.all(
      images.map((image) => put(image, 'counter', { 'If-Match': `"${first.digest}"` })),
    );
    expect(statusesOf(answers)).toEqual([201, ...Array(7).fill(412)]);
    const winner = images[answers.findIndex(({ status }) => status === 201)]!;
    expect(await digestAt('counter')).toBe(winner.digest);
  });
});

describe('Conditions that make no sense', () => {
  test('are 400: on a push by digest alone, both at once, an ETag in If-None-Match', async () => {
    const image = await pushedBlobs();
    for (const [reference, headers] of [
      [image.digest, { 'If-Match': '*' }],
      [image.digest, { 'If-None-Match': '*' }],
      ['both', { 'If-Match': '*', 'If-None-Match': '*' }],
      ['etag', { 'If-None-Match': other }],
    ] as const)
      expectErrors(await put(image, reference, headers), 400, 'UNSUPPORTED');
    expect(await digestAt(image.digest)).toBeNull();
  });
});

describe('If-Match on the deletion of a tag', () => {
  test('the tag goes only from the state that the client knows', async () => {
    const image = makeImage();
    await admin.pushImage(name, 'going', image);
    const remove = (etag: string) => admin.request('delete', `/v2/${name}/manifests/going`).set('If-Match', etag);
    expectErrors(await remove(other), 412, 'DENIED');
    expect(await digestAt('going')).toBe(image.digest);
    expect((await remove(`"${image.digest}"`)).status).toBe(202);
    expect(await digestAt('going')).toBeNull();
  });
});
