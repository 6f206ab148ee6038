/** Loads on a registry, each of which gives a figure. */
import { Agent } from 'node:http';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { ask, timed, type Server } from './client.ts';
import { manifestOver, smallImage, type LargeBlob, type SmallImage } from './content.ts';
import { output } from './machine.ts';
import type { Content } from '../test/support/images.ts';
import { mediaTypes } from '../src/oci/media-types.ts';

const script = path.join(import.meta.dirname, 'wrk.lua');

/** @returns GETs per second by wrk, over these paths in turn. @throws Error when any is not answered 2xx */
export async function getLoad(
  registry: Server,
  paths: readonly string[],
  headers: Readonly<Record<string, string>>,
  { connections, seconds, folder }: { connections: number; seconds: number; folder: string },
): Promise<number> {
  const file = path.join(folder, 'paths');
  await writeFile(file, `${paths.join('\n')}\n`);
  const headerOptions = Object.entries(headers).flatMap(([name, value]) => ['-H', `${name}: ${value}`]);
  const options = ['-t1', `-c${connections}`, `-d${seconds}s`, ...headerOptions, '-s', script];
  const said = await output('wrk', [...options, registry.url, '--', file]);
  const figures = /^figures (\d+) (\d+) (\d+) (\d+)$/m.exec(said);
  if (figures === null || figures[4] !== '0') throw new Error(`${registry.name}: wrk over ${paths[0]}: ${said}`);
  return Number(figures[1]) / (Number(figures[2]) / 1e6);
}

/** @returns GETs per second of the tags that {@link pushTags} made, in turn */
export async function tagLoad(
  registry: Server,
  { repository, tags }: { repository: string; tags: number },
  load: { connections: number; seconds: number; folder: string },
): Promise<number> {
  const paths = Array.from({ length: tags }, (_, i) => `/v2/${repository}/manifests/t${i}`);
  return getLoad(registry, paths, await registry.headers(repository), load);
}

/** One client with its connections, which are kept. */
export interface Pusher {
  readonly registry: Server;
  readonly repository: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly agent: Agent;
}

export async function withPusher<T>(
  registry: Server,
  repository: string,
  work: (pusher: Pusher) => Promise<T>,
): Promise<T> {
  const agent = new Agent({ keepAlive: true });
  try {
    return await work({ registry, repository, headers: await registry.headers(repository), agent });
  } finally {
    agent.destroy();
  }
}

async function openUpload({ registry, repository, headers, agent }: Pusher): Promise<string> {
  const answer = await ask(registry, 'POST', `/v2/${repository}/blobs/uploads/`, 202, {
    agent,
    headers: { ...headers, 'Content-Length': 0 },
  });
  return answer.headers.location!;
}

function withDigest(location: string, digest: string): string {
  return `${location}${location.includes('?') ? '&' : '?'}digest=${digest}`;
}

/** POST and PUT, as most tools push. */
export async function putBlob(pusher: Pusher, blob: Pick<LargeBlob, 'bytes' | 'digest' | 'pieces'>): Promise<void> {
  const { registry, agent, headers } = pusher;
  await ask(registry, 'PUT', withDigest(await openUpload(pusher), blob.digest), 201, {
    agent,
    headers: { ...headers, 'Content-Type': 'application/octet-stream', 'Content-Length': blob.bytes },
    body: blob.pieces(),
  });
}

/** POST, PATCH in chunks of unknown number, and PUT, as docker pushes. */
export async function patchBlob(pusher: Pusher, blob: LargeBlob): Promise<void> {
  const { registry, agent, headers } = pusher;
  const { headers: patched } = await ask(registry, 'PATCH', await openUpload(pusher), 202, {
    agent,
    headers: { ...headers, 'Content-Type': 'application/octet-stream', 'Transfer-Encoding': 'chunked' },
    body: blob.pieces(),
  });
  await ask(registry, 'PUT', withDigest(patched.location!, blob.digest), 201, {
    agent,
    headers: { ...headers, 'Content-Length': 0 },
  });
}

export async function putManifest(pusher: Pusher, tag: string, manifest: Content): Promise<void> {
  const { registry, repository, agent, headers } = pusher;
  await ask(registry, 'PUT', `/v2/${repository}/manifests/${tag}`, 201, {
    agent,
    headers: { ...headers, 'Content-Type': mediaTypes.ociManifest, 'Content-Length': manifest.bytes.length },
    body: [manifest.bytes],
  });
}

export async function pushImage(pusher: Pusher, tag: string, image: SmallImage): Promise<void> {
  for (const { bytes, digest } of [image.config, image.layer])
    await putBlob(pusher, { bytes: bytes.length, digest, pieces: () => [bytes] });
  await putManifest(pusher, tag, image.manifest);
}

/** Pushes an image by the tags `t0`, `t1`, ..., each of them on a manifest of its own over the same blobs. */
export async function pushTags(registry: Server, repository: string, image: SmallImage, tags: number): Promise<void> {
  const concurrency = 8;
  await withPusher(registry, repository, async (pusher) => {
    await pushImage(pusher, 't0', image);
    let next = 1;
    const one = async (): Promise<void> => {
      while (next < tags) {
        const tag = `t${(next += 1) - 1}`;
        await putManifest(pusher, tag, manifestOver(image.config, image.layer, tag));
      }
    };
    await Promise.all(Array.from({ length: concurrency }, one));
  });
}

let pushed = 0;

/** @returns small images pushed per second, each of five requests: two blobs and a manifest by a new tag */
export async function pushLoad(
  registry: Server,
  repository: string,
  { concurrency, seconds }: { concurrency: number; seconds: number },
): Promise<number> {
  const end = performance.now() + seconds * 1000;
  let images = 0;
  const took = await timed(() =>
    withPusher(registry, repository, async (pusher) => {
      const one = async (): Promise<void> => {
        while (performance.now() < end) {
          await pushImage(pusher, `t${(pushed += 1)}`, smallImage());
          images += 1;
        }
      };
      await Promise.all(Array.from({ length: concurrency }, one));
    }),
  );
  return images / took;
}
