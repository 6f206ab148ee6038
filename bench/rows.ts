/** The rows of the benchmark: what is measured, and what Berth aims at. */
import { setTimeout as delay } from 'node:timers/promises';
import { discard, discardRedirected, headLoad, timed } from './client.ts';
import { largeBlob, layerBytes, smallImage, configBytes, type LargeBlob } from './content.ts';
import { getLoad, patchBlob, pushLoad, pushTags, putBlob, tagLoad, withPusher, type Pusher } from './load.ts';
import { diskSpeed } from './machine.ts';
import { peakMemory, resetPeakMemory, type Registry } from './registries.ts';
import type { Store } from './report.ts';
import { throughBerth, type S3 } from './s3.ts';

/** Sizes of a run. */
export interface Scale {
  readonly rounds: number;
  /** Of one load in one round, whole. */
  readonly seconds: number;
  /** Tags of the repositories that manifests are read from, ascending. */
  readonly tags: readonly number[];
  readonly largeMib: number;
  readonly crowd: { readonly blobs: number; readonly mib: number };
}

export interface Figure {
  readonly unit: string;
  readonly better: 'more' | 'less';
  /** `times` the figure of the other, or a limit in the figure's unit. */
  readonly aim?:
    | { readonly of: 'docker-registry' | Store; readonly times: number }
    | { readonly atMost: number }
    | { readonly atLeast: number };
}

export interface Row {
  readonly name: string;
  readonly figures: readonly Figure[];
  /** What holds the bytes, measured by itself in each round too. */
  readonly beside?: { readonly store: Store; measure(): Promise<number> } | undefined;
  /** Of Berth only: the other cannot do it, or not with this S3. */
  readonly alone?: boolean;
  /** Once per registry, not measured. */
  prepare?(registry: Registry): Promise<void>;
  /** Once per registry and round; one value for each figure. */
  measure(registry: Registry, round: number): Promise<readonly number[]>;
}

const perSecond: Figure = { unit: '/s', better: 'more' };
const speed: Figure = { unit: 'MB/s', better: 'more' };
const repositoryOf = (tags: number): string => `bench/tags${tags}`;

export function rowsOf(scale: Scale, folder: string): readonly Row[] {
  return [
    ...manifestRows(scale, folder),
    ...blobRows(scale, folder),
    ...pushRows(scale, [4, 16]),
    ...largeRows(scale, folder),
    crowdRow(scale, folder),
  ];
}

/** Of registries that keep their bytes in S3. */
export function s3RowsOf(scale: Scale, s3: S3): readonly Row[] {
  const rows = [...pushRows(scale, [16]), ...largeS3Rows(scale, s3), { ...crowdRow(scale), alone: true }];
  return rows.map((row) => ({ ...row, name: `S3: ${row.name}` }));
}

/** What the rows read: made once per registry, by whichever row comes first. */
const prepared = new Map<string, Promise<{ config: string; manifest: string }>>();

/** A repository with this many tags, each on a manifest of its own. */
function repositoryWith(registry: Registry, tags: number): Promise<{ config: string; manifest: string }> {
  const key = `${registry.name} ${tags}`;
  const known = prepared.get(key) ?? fill(registry, tags);
  prepared.set(key, known);
  return known;
}

async function fill(registry: Registry, tags: number): Promise<{ config: string; manifest: string }> {
  const image = smallImage();
  await pushTags(registry, repositoryOf(tags), image, tags);
  return { config: image.config.digest, manifest: image.manifest.digest };
}

function manifestRows({ seconds, tags }: Scale, folder: string): Row[] {
  const byTag = (count: number, connections: number, figure = perSecond): Row => ({
    name: `manifest GET by tag, ${count} tag${count === 1 ? '' : 's'}, ${connections} connections`,
    figures: [figure],
    prepare: async (registry) => void (await repositoryWith(registry, count)),
    measure: async (registry) => [
      await tagLoad(registry, { repository: repositoryOf(count), tags: count }, { connections, seconds, folder }),
    ],
  });
  const [one = 1, ...more] = tags;
  const aimed: Figure = { ...perSecond, aim: { of: 'docker-registry', times: 15 } };
  return [
    byTag(one, 32, aimed),
    byTag(one, 128, aimed),
    ...more.map((count) => byTag(count, 32)),
    {
      name: 'manifest HEAD by tag, 32 connections',
      figures: [perSecond],
      prepare: async (registry) => void (await repositoryWith(registry, one)),
      async measure(registry) {
        const name = repositoryOf(one);
        const path = `/v2/${name}/manifests/t0`;
        return [await headLoad(registry, path, await registry.headers(name), { connections: 32, seconds })];
      },
    },
    {
      name: 'manifest GET by digest, 32 connections',
      figures: [perSecond],
      prepare: async (registry) => void (await repositoryWith(registry, one)),
      async measure(registry) {
        const name = repositoryOf(one);
        const path = `/v2/${name}/manifests/${(await repositoryWith(registry, one)).manifest}`;
        return [await getLoad(registry, [path], await registry.headers(name), { connections: 32, seconds, folder })];
      },
    },
  ];
}

function blobRows({ seconds, tags }: Scale, folder: string): Row[] {
  const [one = 1] = tags;
  const name = repositoryOf(one);
  const pathOf = async (registry: Registry): Promise<string> =>
    `/v2/${name}/blobs/${(await repositoryWith(registry, one)).config}`;
  const prepare = async (registry: Registry): Promise<void> => void (await pathOf(registry));
  const load = { connections: 32, seconds };
  return [
    {
      name: 'blob HEAD, 32 connections',
      figures: [perSecond],
      prepare,
      measure: async (registry) => [
        await headLoad(registry, await pathOf(registry), await registry.headers(name), load),
      ],
    },
    {
      name: `blob GET of ${configBytes / 1024} KiB, 32 connections`,
      figures: [perSecond],
      prepare,
      measure: async (registry) => [
        await getLoad(registry, [await pathOf(registry)], await registry.headers(name), { ...load, folder }),
      ],
    },
  ];
}

function pushRows({ seconds }: Scale, clients: readonly number[]): Row[] {
  return clients.map((concurrency) => ({
    name: `small image pushes (${configBytes / 1024} + ${layerBytes / 1024} KiB), ${concurrency} at once`,
    figures: [perSecond],
    measure: async (registry) => [await pushLoad(registry, `bench/push${concurrency}`, { concurrency, seconds })],
  }));
}

type Send = (pusher: Pusher, blob: LargeBlob) => Promise<void>;
const large = 'bench/large';

/** All registries get the same blob in a round; it is made outside of the measured time. */
function largePushRow({ largeMib }: Scale, title: string, send: Send, figure: Figure, beside: Row['beside']): Row {
  const blobs = new Map<number, LargeBlob>();
  return {
    name: `${largeMib} MiB ${title}`,
    figures: [figure],
    beside,
    async measure(registry, round) {
      const blob = blobs.get(round) ?? largeBlob(largeMib);
      blobs.set(round, blob);
      return withPusher(registry, large, async (pusher) => [
        blob.bytes / 1e6 / (await timed(() => send(pusher, blob))),
      ]);
    },
  };
}

type Read = typeof discard;

function largeGetRow(title: string, blob: LargeBlob, read: Read, figure: Figure): Row {
  return {
    name: `${blob.bytes / 1024 ** 2} MiB GET${title}`,
    figures: [figure],
    prepare: (registry) => withPusher(registry, large, (pusher) => putBlob(pusher, blob)),
    async measure(registry) {
      const headers = await registry.headers(large);
      const path = `/v2/${large}/blobs/${blob.digest}`;
      return [blob.bytes / 1e6 / (await timed(() => read(registry, path, headers, blob.bytes)))];
    },
  };
}

const besideDisk = (folder: string, mebibytes: number): Row['beside'] => ({
  store: 'dd',
  measure: () => diskSpeed(folder, mebibytes),
});

function largeRows(scale: Scale, folder: string): Row[] {
  const figure: Figure = { ...speed, aim: { of: 'dd', times: 0.9 } };
  const beside = besideDisk(folder, scale.largeMib);
  return [
    largePushRow(scale, 'PUT', putBlob, figure, beside),
    largePushRow(scale, 'PATCH, as docker pushes', patchBlob, figure, beside),
    largeGetRow('', largeBlob(scale.largeMib), discard, { ...speed, aim: { of: 'docker-registry', times: 1.2 } }),
  ];
}

/**
 * The aims of what goes through Berth are what a prototype of its store reached on two cores that it shared with versitygw; what
 * does not, cannot be faster than S3.
 */
function largeS3Rows(scale: Scale, s3: S3): Row[] {
  const atLeast = (mbPerSecond: number): Figure => ({ ...speed, aim: { atLeast: mbPerSecond } });
  const asS3: Figure = { ...speed, aim: { of: 'S3', times: 0.95 } };
  const blob = largeBlob(scale.largeMib);
  const up = { store: 'S3', measure: () => s3.putSpeed(blob) } as const;
  const down = { store: 'S3', measure: () => s3.getSpeed(blob) } as const;
  const piped: Read = (registry, path, headers, bytes) =>
    discard(registry, path, { ...headers, 'User-Agent': throughBerth }, bytes);
  return [
    { ...largePushRow(scale, 'PUT', putBlob, atLeast(330), up), alone: true },
    { ...largePushRow(scale, 'PATCH, as docker pushes', patchBlob, atLeast(330), up), alone: true },
    { ...largeGetRow('', blob, piped, atLeast(600)), beside: down },
    { ...largeGetRow(' by redirect', blob, discardRedirected, asS3), beside: down, alone: true },
  ];
}

/** Time for what was freed before to be given back, so that the peak is of this row. */
const restMs = 500;

/** @param folder on the disk that the bytes go to, where they do */
function crowdRow({ crowd }: Scale, folder?: string): Row {
  const rounds = new Map<number, LargeBlob[]>();
  const blobsOf = (round: number): LargeBlob[] => {
    const blobs = rounds.get(round) ?? Array.from({ length: crowd.blobs }, () => largeBlob(crowd.mib));
    rounds.set(round, blobs);
    return blobs;
  };
  return {
    name: `${crowd.blobs} x ${crowd.mib} MiB pushed at once, as docker pushes`,
    figures: [speed, { unit: 'MB of memory at most', better: 'less', aim: { atMost: 200 } }],
    beside: folder === undefined ? undefined : besideDisk(folder, 2 * crowd.mib),
    async measure(registry, round) {
      const blobs = blobsOf(round);
      const bytes = blobs.reduce((sum, blob) => sum + blob.bytes, 0);
      await delay(restMs);
      await resetPeakMemory(registry);
      const seconds = await timed(() =>
        withPusher(registry, 'bench/crowd', (pusher) => Promise.all(blobs.map((blob) => patchBlob(pusher, blob)))),
      );
      return [bytes / 1e6 / seconds, await peakMemory(registry)];
    },
  };
}
