/** The stores that the settings name. */
import { join } from 'node:path';
import type { Config } from '../config/config.ts';
import { DiskBlobStore } from './disk/store.ts';
import { MemoryBlobStore } from './memory/store.ts';
import { MovingBlobStore } from './moving-store.ts';
import type { BlobStore } from './port.ts';

/** Where blobs go, and where they may still be. */
export interface Stores {
  readonly current: BlobStore;
  readonly previous: BlobStore | undefined;
}

export async function openStores(config: Config): Promise<Stores> {
  const { kind, previous } = config.storage;
  return {
    current: await open(config, kind),
    previous: previous === undefined ? undefined : await open(config, previous),
  };
}

/** All of them as one. */
export async function openStore(config: Config): Promise<BlobStore> {
  const { current, previous } = await openStores(config);
  return previous === undefined ? current : new MovingBlobStore(current, previous);
}

async function open({ storage, dataDir }: Config, kind: 'disk' | 's3' | 'memory'): Promise<BlobStore> {
  const { s3 } = storage;
  // The SDK costs time and memory at start; whoever does not use it does not pay.
  if (kind === 's3' && s3 !== undefined) return new (await import('./s3/store.ts')).S3BlobStore(s3);
  return kind === 'memory' ? new MemoryBlobStore() : new DiskBlobStore(join(dataDir, 'storage'));
}
