/** What must hold before the first request: folders, one file system, room, and rights. Everything else is one sentence. */
import { mkdir } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { digestOf } from '../../oci/digest.ts';
import { StorageUnusableError } from '../port.ts';
import type { BlobStore } from '../port.ts';
import type { Folders } from './folders.ts';

/** @throws StorageUnusableError with one sentence for the operator */
export async function proveUsable(store: BlobStore, root: string, folders: Folders): Promise<void> {
  try {
    await makeTree(root, folders);
    await probe(store);
  } catch (error) {
    throw new StorageUnusableError(sentence(error, resolve(root)), { cause: error });
  }
}

async function makeTree(root: string, folders: Folders): Promise<void> {
  const first = await mkdir(root, { recursive: true, mode: 0o700 });
  // Each new folder's name lies in its parent: sync them all, up to the one that was there before.
  const known = first === undefined ? resolve(root) : dirname(resolve(first));
  for (let folder = resolve(root); folder !== known; folder = dirname(folder)) await folders.sync(dirname(folder));
  await folders.ensure(join(root, 'uploads'));
  await folders.ensure(join(root, 'blobs'));
}

/** One blob's whole life. The rename in it also proves that uploads and blobs are on one file system. */
async function probe(store: BlobStore): Promise<void> {
  const bytes = Buffer.from('Berth was here.\n');
  const state = store.begin('probe');
  try {
    const writer = await store.openWriter(state, 0);
    try {
      await writer.write([bytes]);
      await writer.finish({ committing: true });
    } finally {
      await writer.close();
    }
    const key = await store.commit(state, digestOf(bytes), bytes.length);
    for await (const part of await store.read(key, { start: 0, length: bytes.length })) {
      if (!part.equals(bytes)) throw new Error('a file reads back other bytes than were written');
    }
    await store.delete(key);
  } finally {
    await store.abort(state);
  }
}

function sentence(error: unknown, root: string): string {
  switch (codeOf(error)) {
    case 'ENOSPC':
      return `The disk that holds ${root} is full: free some room, then start Berth again.`;
    case 'EDQUOT':
      return `The disk quota for ${root} is used up: raise it or free some room, then start Berth again.`;
    case 'EACCES':
    case 'EPERM':
      return `Berth may not read and write in ${root}: give that folder to the user Berth runs as.`;
    case 'EROFS':
      return `${root} is on a file system that is mounted read-only.`;
    case 'EXDEV':
      return `${join(root, 'uploads')} and ${join(root, 'blobs')} are on different file systems: they must be on one.`;
    case 'ENOTDIR':
    case 'EEXIST':
      return `${root} cannot hold the blobs: a file is where a folder should be.`;
    default:
      return `${root} cannot hold the blobs: ${error instanceof Error ? error.message : String(error)}.`;
  }
}

/** The system's own code, which the port's errors carry as their cause. */
function codeOf(error: unknown): unknown {
  if (!(error instanceof Error)) return undefined;
  return 'code' in error ? error.code : codeOf(error.cause);
}
