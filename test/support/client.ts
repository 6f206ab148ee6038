/** Requests to a Berth under test, as a client that knows the token protocol makes them. */
import supertest, { type Test } from 'supertest';
import type { Login } from './berth.ts';
import type { Content, TestImage } from './images.ts';

export interface Client {
  /** One request to the data plane, with Basic credentials when the client has some. The answer is the raw one: any status. */
  request(method: 'get' | 'head' | 'post' | 'put' | 'patch' | 'delete', path: string): Test;
  /** POST and PUT of a blob. */
  pushBlob(name: string, blob: Content): Promise<void>;
  pushManifest(name: string, reference: string, manifest: Content & { readonly mediaType: string }): Promise<void>;
  /** All blobs of an image, then its manifest. */
  pushImage(name: string, reference: string, image: TestImage): Promise<void>;
}

/** @param login undefined for a client without credentials */
export function clientOf(url: string, login?: Login): Client {
  const agent = supertest(url);
  const request: Client['request'] = (method, path) => {
    const test = agent[method](path).ok(() => true);
    return login === undefined ? test : test.auth(login.username, login.password);
  };
  const client: Client = {
    request,
    async pushBlob(name, blob) {
      const started = await request('post', `/v2/${name}/blobs/uploads/`);
      expectStatus(started, 202);
      const location = new URL(started.headers['location']!, url);
      location.searchParams.set('digest', blob.digest);
      const sent = await request('put', location.pathname + location.search)
        .set('Content-Type', 'application/octet-stream')
        .send(blob.bytes);
      expectStatus(sent, 201);
    },
    async pushManifest(name, reference, manifest) {
      const answer = await request('put', `/v2/${name}/manifests/${reference}`)
        .set('Content-Type', manifest.mediaType)

        // As text: a Buffer would be made JSON of, for the sake of its content type.
        .send(manifest.bytes.toString());
      expectStatus(answer, 201);
    },
    async pushImage(name, reference, image) {
      for (const blob of [image.config, ...image.layers]) await client.pushBlob(name, blob);
      await client.pushManifest(name, reference, image);
    },
  };
  return client;
}

function expectStatus(answer: { status: number; text: string }, status: number): void {
  if (answer.status !== status) throw new Error(`expected ${status}, got ${answer.status}: ${answer.text}`);
}

/** A bearer token as the token end-point gives it to this login (or to nobody) for these scopes. */
export async function tokenFor(url: string, scopes: readonly string[], login?: Login): Promise<string> {
  const request = supertest(url).get('/auth/token').query({ service: 'berth', scope: scopes });
  const answer = await (login === undefined ? request : request.auth(login.username, login.password));
  expectStatus(answer, 200);
  return (answer.body as { token: string }).token;
}
