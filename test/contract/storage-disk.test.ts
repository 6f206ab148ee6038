/** What holds for the disk store beyond the port: its files, its descriptors, and what it says when it cannot start. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { appendFile, chmod, mkdir, readFile, readdir, rm, stat, truncate, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { digestOf } from '../../src/oci/digest.ts';
import { DiskBlobStore } from '../../src/storage/disk/store.ts';
import { uploadNameOf, uploadPath } from '../../src/storage/layout.ts';
import { ObjectSizeError, StorageUnusableError } from '../../src/storage/port.ts';
import { append, collect, put } from './storage.ts';
import { asOrdinaryUser, canMount, makeFolder, mountTmpfs, openFilesUnder } from './storage-folders.ts';
import type { TestFolder } from './storage-folders.ts';

const mib = 1024 * 1024;
let place: TestFolder;
let store: DiskBlobStore;

beforeEach(async () => {
  place = await makeFolder();
  store = new DiskBlobStore(join(place.folder, 'deep', 'data'));
});
afterEach(() => place.remove());

describe('the files of the disk store', () => {
  beforeEach(() => store.start());

  it('names each blob by its digest, so that a person can check it', async () => {
    const key = await put(store, Buffer.from('hello'));
    const hex = createHash('sha256').update('hello').digest('hex');
    expect(key).toMatch(new RegExp(`^blobs/sha256/${hex.slice(0, 2)}/${hex}-[0-9a-f]{24}$`));
    expect(await readFile(join(place.folder, 'deep', 'data', key), 'utf8')).toBe('hello');
  });

  it('lets nobody else look into its folders and files', async () => {
    const root = join(place.folder, 'deep', 'data');
    const key = await put(store, Buffer.from('secret'));
    const modes = [root, join(root, 'uploads'), join(root, 'blobs'), join(root, key, '..'), join(root, key)];
    for (const path of modes) expect((await stat(path)).mode & 0o077, path).toBe(0);
  });

  it('cuts off what a crash left behind the offset, before anything is written', async () => {
    const state = await append(store, store.begin('u'), 0, [[Buffer.from('kept')]]);
    const uploads = join(place.folder, 'deep', 'data', 'uploads');
    const [name] = await readdir(uploads);
    await appendFile(join(uploads, name!), Buffer.alloc(3 * mib, 7));
    const writer = await store.openWriter(state, 4);
    expect(await readFile(join(uploads, name!), 'utf8')).toBe('kept');
    await writer.close();
  });

  it('makes a folder again that somebody tidied away', async () => {
    const hex = createHash('sha256').update('x').digest('hex');
    await store.delete(await put(store, Buffer.from('x')));
    await rm(join(place.folder, 'deep', 'data', 'blobs', 'sha256'), { recursive: true });
    expect(await put(store, Buffer.from('x'))).toContain(hex);
  });

  it('does not call an object old because its last byte came long ago', async () => {
    const state = await append(store, store.begin('slow'), 0, [[Buffer.from('x')]]);
    const longAgo = new Date(Date.now() - 86_400_000);
    await utimes(join(place.folder, 'deep', 'data', uploadPath(uploadNameOf(state))), longAgo, longAgo);
    for await (const upload of store.listUploads()) expect(upload.modifiedAt).toEqual(longAgo);
    await store.commit(state, digestOf('x'), 1);
    for await (const object of store.listObjects()) {
      expect(Date.now() - object.modifiedAt.getTime()).toBeLessThan(60_000);
    }
  });

  it('lists only what is its own', async () => {
    const root = join(place.folder, 'deep', 'data');
    await mkdir(join(root, 'blobs', 'lost+found'));
    await writeFile(join(root, 'blobs', 'README'), '');
    await writeFile(join(root, 'uploads', '.hidden'), '');
    const key = await put(store, Buffer.from('x'));
    await writeFile(join(root, `${key}.bak`), '');
    const listed = [];
    for await (const object of store.listObjects()) listed.push(object.key);
    for await (const upload of store.listUploads()) listed.push(upload.state);
    expect(listed).toEqual([key]);
  });
});

describe.skipIf(process.platform !== 'linux')('the descriptors of the disk store', () => {
  beforeEach(() => store.start());

  it('are closed however a reader ends', async () => {
    const size = 5 * mib;
    const key = await put(store, Buffer.alloc(size, 'x'));
    const path = join(place.folder, 'deep', 'data', key);
    const open = async () => (await store.read(key, { start: 0, length: size }))[Symbol.asyncIterator]();

    await (await open()).return?.();
    const early = await open();
    await early.next();
    expect(await openFilesUnder(place.folder)).toHaveLength(1);
    await early.return?.();
    const concurrent = await open();
    await Promise.all([concurrent.next(), concurrent.return?.(), concurrent.return?.()]);
    await expect(store.read(key, { start: 0, length: size + 1 })).rejects.toBeInstanceOf(ObjectSizeError);
    await expect(store.read(key, { start: size, length: 1 })).rejects.toBeInstanceOf(ObjectSizeError);
    expect(await openFilesUnder(place.folder)).toEqual([]);

    // The file shrinks under the reader: a failing disk, or a hand that should not have been there.
    const unlucky = await store.read(key, { start: 0, length: size });
    await truncate(path, mib);
    await expect(collect(unlucky)).rejects.toBeInstanceOf(ObjectSizeError);
    expect(await openFilesUnder(place.folder)).toEqual([]);
  });

  it('are closed however a writer ends', async () => {
    const finished = await store.openWriter(store.begin('u'), 0);
    // More than one early sync is under way or over when the writer ends.
    for (let at = 0; at < 80; at += 1) await finished.write([Buffer.alloc(mib, at)]);
    await finished.finish();
    const left = await store.openWriter(store.begin('u'), 0);
    for (let at = 0; at < 33; at += 1) await left.write([Buffer.alloc(mib, at)]);
    const lastWrite = left.write([Buffer.alloc(mib)]);
    await left.close();
    await lastWrite;
    const state = await append(store, store.begin('u'), 0, [[Buffer.from('12345')]]);
    await expect(store.openWriter(state, 6)).rejects.toBeInstanceOf(ObjectSizeError);
    expect(await openFilesUnder(place.folder)).toEqual([]);
  });

  it('are closed when a listing is left early', async () => {
    await put(store, Buffer.from('a'));
    await put(store, Buffer.from('b'));
    for await (const _ of store.listObjects()) break;
    expect(await openFilesUnder(place.folder)).toEqual([]);
  });
});

describe('the start of the disk store', () => {
  const refusal = async (at: DiskBlobStore) => {
    const error: unknown = await at.start().catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(StorageUnusableError);
    return (error as Error).message;
  };

  it('makes its folders, leaves no probe behind, and can be repeated', async () => {
    await store.start();
    await store.start();
    const root = join(place.folder, 'deep', 'data');
    expect((await readdir(root)).toSorted()).toEqual(['blobs', 'uploads']);
    expect(await readdir(join(root, 'uploads'))).toEqual([]);
    const files = await readdir(root, { recursive: true, withFileTypes: true });
    expect(files.filter((entry) => entry.isFile())).toEqual([]);
  });

  it('says that a file is in the way', async () => {
    await writeFile(join(place.folder, 'deep'), '');
    expect(await refusal(store)).toMatch(/^\/.*\/data cannot hold the blobs: a file is where a folder should be\.$/);
    const inside = new DiskBlobStore(place.folder);
    await writeFile(join(place.folder, 'blobs'), '');
    expect(await refusal(inside)).toContain('a file is where a folder should be');
  });

  it('says that it may not write there', async () => {
    await store.start();
    await chmod(join(place.folder, 'deep', 'data', 'uploads'), 0o500);
    const message = await asOrdinaryUser(() => refusal(store));
    await chmod(join(place.folder, 'deep', 'data', 'uploads'), 0o700);
    expect(message).toMatch(
      /^Berth may not read and write in \/.*\/data: give that folder to the user Berth runs as\.$/,
    );
  });

  it.skipIf(!canMount)('says that the disk is full', async () => {
    const small = await mountTmpfs('size=64k');
    try {
      await writeFile(join(small.folder, 'filler'), Buffer.alloc(mib)).catch(() => undefined);
      const message = await refusal(new DiskBlobStore(small.folder));
      expect(message).toBe(`The disk that holds ${small.folder} is full: free some room, then start Berth again.`);
    } finally {
      await small.remove();
    }
  });

  it.skipIf(!canMount)('says that the file system is read-only', async () => {
    const fixed = await mountTmpfs('size=1m,ro');
    try {
      const message = await refusal(new DiskBlobStore(fixed.folder));
      expect(message).toBe(`${fixed.folder} is on a file system that is mounted read-only.`);
    } finally {
      await fixed.remove();
    }
  });

  it.skipIf(!canMount)('says that uploads and blobs are on different file systems', async () => {
    await store.start();
    const blobs = join(place.folder, 'deep', 'data', 'blobs');
    spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', blobs]);
    try {
      expect(await refusal(store)).toMatch(
        /\/uploads and .*\/blobs are on different file systems: they must be on one\.$/,
      );
      expect(await readdir(join(place.folder, 'deep', 'data', 'uploads'))).toEqual([]);
    } finally {
      spawnSync('umount', ['--lazy', blobs]);
    }
  });
});
