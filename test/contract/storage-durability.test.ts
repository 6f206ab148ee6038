/** Nothing is answered before the disk has it: the real system calls of the disk store, in the order in which they ended. */
import fs from 'node:fs';
import { dirname, relative } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { digestOf } from '../../src/oci/digest.ts';
import { DiskBlobStore } from '../../src/storage/disk/store.ts';
import { uploadNameOf, uploadPath } from '../../src/storage/layout.ts';
import type { UploadState } from '../../src/storage/port.ts';
import { append, collect, put } from './storage.ts';
import { makeFolder } from './storage-folders.ts';
import type { TestFolder } from './storage-folders.ts';

const mib = 1024 * 1024;
type Done = (error: NodeJS.ErrnoException | null) => void;

let place: TestFolder;
let store: DiskBlobStore;
let ended: string[];
/** Set by a test: the next data sync does happen, but reports this error. */
let failure: NodeJS.ErrnoException | undefined;

beforeEach(async () => {
  place = await makeFolder();
  store = new DiskBlobStore(place.folder);
  await store.start();
  ended = [];
  failure = undefined;
  watch();
});
afterEach(async () => {
  vi.restoreAllMocks();
  await place.remove();
});

const shown = (path: string) => relative(place.folder, path) || '.';
const pathOf = (fd: number) => shown(fs.readlinkSync(`/proc/self/fd/${fd}`));

/** Lets every call through to the system and writes down when it has ended. */
function watch(): void {
  const { fdatasync, fsync, rename, unlink } = fs;
  vi.spyOn(fs, 'fdatasync').mockImplementation(((fd: number, done: Done) => {
    const path = pathOf(fd);
    fdatasync(fd, (error) => {
      ended.push(`sync ${path}`);
      done(failure ?? error);
    });
  }) as typeof fs.fdatasync);
  vi.spyOn(fs, 'fsync').mockImplementation(((fd: number, done: Done) => {
    const path = pathOf(fd);
    fsync(fd, (error) => {
      ended.push(`sync ${path}`);
      done(error);
    });
  }) as typeof fs.fsync);
  vi.spyOn(fs, 'rename').mockImplementation(((from: string, to: string, done: Done) => {
    rename(from, to, (error) => {
      ended.push(`rename ${shown(from)} ${shown(to)}`);
      done(error);
    });
  }) as typeof fs.rename);
  vi.spyOn(fs, 'unlink').mockImplementation(((path: string, done: Done) => {
    unlink(path, (error) => {
      ended.push(`unlink ${shown(path)}`);
      done(error);
    });
  }) as typeof fs.unlink);
}

const fileOf = (state: UploadState) => uploadPath(uploadNameOf(state));

describe.skipIf(process.platform !== 'linux')('what the disk has when the disk store answers', () => {
  it('is, after finish, the bytes and the name of the upload', async () => {
    const state = await append(store, store.begin('u'), 0, [[Buffer.from('bytes')]]);
    expect(ended.toSorted()).toEqual(['sync uploads', `sync ${fileOf(state)}`]);
  });

  it('is the name also when the writer that made the file died', async () => {
    const state = store.begin('u');
    const dying = await store.openWriter(state, 0);
    await dying.close();
    await append(store, state, 0, [[Buffer.from('bytes')]]);
    expect(ended.toSorted()).toEqual(['sync uploads', `sync ${fileOf(state)}`]);
  });

  it('is, after a later finish, the new bytes; the name was there', async () => {
    const state = await append(store, store.begin('u'), 0, [[Buffer.from('bytes')]]);
    ended = [];
    await append(store, state, 5, [[Buffer.from('more')]]);
    expect(ended).toEqual([`sync ${fileOf(state)}`]);
  });

  it('is, after commit, the bytes before the name of the object, and every new folder above it', async () => {
    const bytes = Buffer.from('bytes');
    const writer = await store.openWriter(store.begin('u'), 0);
    await writer.write([bytes]);
    const state = await writer.finish({ committing: true });
    const fresh = new DiskBlobStore(place.folder);
    const key = await fresh.commit(state, digestOf(bytes), bytes.length);
    expect(ended).toEqual([
      `sync ${fileOf(state)}`,
      'sync blobs',
      'sync blobs/sha256',
      `rename ${fileOf(state)} ${key}`,
      `sync ${dirname(key)}`,
    ]);
  });

  it('is the same after a commit that only finds the work of one that died', async () => {
    const bytes = Buffer.from('bytes');
    const state = await append(store, store.begin('u'), 0, [[bytes]]);
    const key = await store.commit(state, digestOf(bytes), bytes.length);
    ended = [];
    await store.commit(state, digestOf(bytes), bytes.length);
    expect(ended).toEqual([`sync ${key}`, `sync ${dirname(key)}`]);
  });

  it('is, after delete, no name', async () => {
    const key = await put(store, Buffer.from('bytes'));
    ended = [];
    await store.delete(key);
    await store.delete(key);
    const once = [`unlink ${key}`, `sync ${dirname(key)}`];
    expect(ended).toEqual([...once, ...once]);
  });

  it('grows while a large upload comes in', async () => {
    const state = store.begin('u');
    const writer = await store.openWriter(state, 0);
    for (let at = 0; at < 32; at += 1) await writer.write([Buffer.alloc(mib, at)]);
    await vi.waitFor(() => expect(ended).toEqual([`sync ${fileOf(state)}`]));
    await writer.close();
  });

  it('is not trusted again once a sync has failed: neither that writer nor its finish succeeds', async () => {
    failure = Object.assign(new Error('i/o error'), { code: 'EIO' });
    const writer = await store.openWriter(store.begin('u'), 0);
    for (let at = 0; at < 32; at += 1) await writer.write([Buffer.alloc(mib, at)]);
    await vi.waitFor(() => expect(ended).toHaveLength(1));
    failure = undefined;
    await expect(writer.write([Buffer.from('more')])).rejects.toThrow('i/o error');
    await expect(writer.finish()).rejects.toThrow('i/o error');
    await writer.close();

    const other = await store.openWriter(store.begin('u'), 0);
    for (let at = 0; at < 31; at += 1) await other.write([Buffer.alloc(mib, at)]);
    failure = Object.assign(new Error('i/o error'), { code: 'EIO' });
    await other.write([Buffer.alloc(mib)]);
    // The early sync is still under way here: finish must wait for its bad news.
    vi.mocked(fs.fdatasync).mockRestore();
    await expect(other.finish()).rejects.toThrow('i/o error');
  });

  it('is everything although the system takes only a part of each write', async () => {
    const { write } = fs;
    vi.spyOn(fs, 'writev').mockImplementation(((fd: number, buffers: Buffer[], position: number, done: Done) => {
      const all = Buffer.concat(buffers);
      write(fd, all, 0, Math.min(all.length, 7), position, done);
    }) as typeof fs.writev);
    const parts = ['one', '', 'and twenty', 'x', 'seven..', 'the end'].map((text) => Buffer.from(text));
    const state = await append(store, store.begin('u'), 0, [parts, parts]);
    const whole = Buffer.concat([...parts, ...parts]);
    expect((await collect(store.readUpload(state, whole.length))).toString()).toBe(whole.toString());
  });

  it('never reaches the file of somebody else: descriptors are closed only when no call uses them any more', async () => {
    const { close, read } = fs;
    vi.spyOn(fs, 'close').mockImplementation(((fd: number, done: Done) => {
      ended.push('close');
      close(fd, done);
    }) as typeof fs.close);
    vi.spyOn(fs, 'read').mockImplementation(((
      fd: number,
      to: Buffer,
      at: number,
      length: number,
      from: number,
      done: Done,
    ) => {
      read(fd, to, at, length, from, (...answer: unknown[]) => {
        ended.push('read');
        (done as (...all: unknown[]) => void)(...answer);
      });
    }) as typeof fs.read);

    const state = store.begin('u');
    const writer = await store.openWriter(state, 0);
    await writer.write([Buffer.alloc(32 * mib)]);
    await writer.close();
    expect(ended).toEqual([`sync ${fileOf(state)}`, 'close']);

    ended = [];
    const reader = store.readUpload(state, 3 * mib)[Symbol.asyncIterator]();
    await reader.next();
    await reader.return?.(undefined);
    expect(ended).toEqual(['read', 'read', 'close']);
  });
});
