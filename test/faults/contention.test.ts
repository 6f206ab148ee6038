/**
 * Everybody at once, on the same few tags, manifests and blobs: nothing fails that need not, and what is left makes sense.
 * `FAULT_SEED` repeats the choices of a run, `FAULT_SECONDS` makes it longer.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Digest } from '../../src/oci/digest.ts';
import { startTestBerth, type TestBerth } from '../support/berth.ts';
import {
  callerOf,
  chanceOf,
  closing,
  findDamage,
  orphanObjects,
  unfinishedFiles,
  type Answer,
  type Caller,
  type Chance,
} from '../support/faults.ts';
import { makeImage, randomContent, type Content, type TestImage } from '../support/images.ts';

const seed = Number(process.env['FAULT_SEED'] ?? Date.now() % 2 ** 32);
const seconds = Number(process.env['FAULT_SECONDS'] ?? 4);
const workers = 12;

const repositories = ['stress/a', 'stress/b', 'stress/c'];
const tags = ['one', 'two', 'three', 'four', 'five'];
const layers = Array.from({ length: 4 }, () => randomContent(2000));
const images: TestImage[] = [0, 1, 2, 3, 4, 5].map((i) =>
  makeImage({ layers: [layers[i % 4]!, layers[(i + 1) % 4]!] }),
);
const blobs: Content[] = [...layers, ...images.map((image) => image.config)];

let berth: TestBerth;
beforeAll(async () => {
  berth = await startTestBerth({ BERTH_DATABASE_POOL_SIZE: '10' });
});
afterAll(() => berth.stop());

/** One thing that a client may do, and the statuses that may come of it while others do theirs. */
type Deed = (call: Caller, chance: Chance) => Promise<{ answer: Answer; allowed: readonly number[] }>;

async function pushBlob(call: Caller, name: string, blob: Content, chance: Chance): ReturnType<Deed> {
  const way = chance.below(3);
  if (way === 0) {
    const answer = await call('POST', `/v2/${name}/blobs/uploads/?digest=${blob.digest}`, { body: blob.bytes });
    return { answer, allowed: [201] };
  }
  const mount = way === 1 ? `?mount=${blob.digest}&from=${chance.pick(repositories)}` : '';
  const opened = await call('POST', `/v2/${name}/blobs/uploads/${mount}`);
  if (opened.status !== 202) return { answer: opened, allowed: [201] };
  const location = opened.headers.get('location')!;
  const answer = await call('PUT', closing(location, blob.digest), { body: blob.bytes });
  return { answer, allowed: [201] };
}

const putManifest = (call: Caller, name: string, reference: string, image: TestImage): Promise<Answer> =>
  call('PUT', `/v2/${name}/manifests/${reference}`, {
    body: image.bytes,
    headers: { 'Content-Type': image.mediaType },
  });

/** By tag, or by digest with several tags in any order. */
function referenceTo(image: TestImage, chance: Chance): string {
  if (chance.below(2) === 0) return chance.pick(tags);
  const some = chance.shuffled(tags).slice(0, 1 + chance.below(4));
  return `${image.digest}?${some.map((tag) => `tag=${tag}`).join('&')}`;
}

const deeds: Readonly<Record<string, Deed>> = {
  async pushImage(call, chance) {
    const [name, image] = [chance.pick(repositories), chance.pick(images)];
    for (const blob of [image.config, ...image.layers]) {
      const pushed = await pushBlob(call, name, blob, chance);
      if (!pushed.allowed.includes(pushed.answer.status)) return pushed;
    }
    // A blob may have been deleted again in the meantime.
    return { answer: await putManifest(call, name, referenceTo(image, chance), image), allowed: [201, 404] };
  },
  async retag(call, chance) {
    const [name, image] = [chance.pick(repositories), chance.pick(images)];
    return { answer: await putManifest(call, name, referenceTo(image, chance), image), allowed: [201, 404] };
  },
  async deleteTag(call, chance) {
    const answer = await call('DELETE', `/v2/${chance.pick(repositories)}/manifests/${chance.pick(tags)}`);
    return { answer, allowed: [202, 404] };
  },
  async deleteManifest(call, chance) {
    const answer = await call('DELETE', `/v2/${chance.pick(repositories)}/manifests/${chance.pick(images).digest}`);
    return { answer, allowed: [202, 404] };
  },
  async deleteBlob(call, chance) {
    const answer = await call('DELETE', `/v2/${chance.pick(repositories)}/blobs/${chance.pick(blobs).digest}`);
    return { answer, allowed: [202, 404, 405] };
  },
  async pull(call, chance) {
    const answer = await call('GET', `/v2/${chance.pick(repositories)}/manifests/${chance.pick(tags)}`);
    if (answer.status === 200) expect(images.map((image) => image.digest)).toContain(digestHeader(answer));
    return { answer, allowed: [200, 404] };
  },
};

const digestHeader = (answer: Answer): Digest => answer.headers.get('docker-content-digest') as Digest;

/** Pushes and retags are what meets most; deletes are many enough that everything comes and goes. */
const mixture = [
  'pushImage',
  'pushImage',
  'retag',
  'retag',
  'retag',
  'deleteTag',
  'deleteManifest',
  'deleteBlob',
  'pull',
];

test(
  `concurrent pushes, moves, deletes and mounts leave every fact in order (FAULT_SEED=${seed})`,
  { timeout: (seconds + 60) * 1000 },
  async () => {
    const call = callerOf(berth.url, berth.admin);
    const surprises: string[] = [];
    const counts = new Map<string, number>();
    const until = Date.now() + seconds * 1000;
    const work = async (chance: Chance): Promise<void> => {
      while (Date.now() < until) {
        const deed = chance.pick(mixture);
        const { answer, allowed } = await deeds[deed]!(call, chance);
        const outcome = `${deed} ${answer.status}`;
        counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
        if (!allowed.includes(answer.status)) surprises.push(`${outcome}: ${answer.body.toString()}`);
      }
    };
    await Promise.all(Array.from({ length: workers }, (_, i) => work(chanceOf(seed + i))));
    const retries = berth.logs.filter((line) => line['msg'] === 'two transactions met; one is tried again').length;
    console.log(
      `seed ${seed}: ${[...counts]
        .map(([outcome, n]) => `${outcome} ${n}x`)
        .sort()
        .join(', ')}; ${retries} retries`,
    );

    expect(surprises).toEqual([]);
    // Each deadlock keeps two clients waiting for a second; whatever meets is locked in one order.
    const done = [...counts.values()].reduce((sum, n) => sum + n, 0);
    expect(retries * 20).toBeLessThan(done);
    expect(await findDamage(berth.database, berth.dataDir)).toEqual([]);
    expect(await orphanObjects(berth.database, berth.dataDir)).toEqual([]);
    expect((await unfinishedFiles(berth.database, berth.dataDir)).all).toEqual([]);
    expect(counts.get('pushImage 201')).toBeGreaterThan(0);
    expect(counts.get('deleteManifest 202')).toBeGreaterThan(0);
  },
);
