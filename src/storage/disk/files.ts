/**
 * The few file operations of the disk store, on plain descriptors (`fs/promises` wraps each in an object and costs more),
 * with their errors in the port's words.
 */
import fs from 'node:fs';
import { ObjectMissingError, StorageFullError } from '../port.ts';

const { O_CREAT, O_DIRECTORY, O_EXCL, O_RDONLY, O_TRUNC, O_WRONLY } = fs.constants;

export const reading = O_RDONLY;
export const readingFolder = O_RDONLY | O_DIRECTORY;
export const writing = O_WRONLY;
/** Makes the file, or empties the one that is there. */
export const writingFromStart = O_WRONLY | O_CREAT | O_TRUNC;
/** Makes the file; fails with EEXIST when one is there. */
export const making = O_WRONLY | O_CREAT | O_EXCL;

function translate(error: NodeJS.ErrnoException): Error {
  if (error.code === 'ENOENT') {
    return new ObjectMissingError(`nothing is stored at ${error.path ?? 'that place'}`, { cause: error });
  }
  if (error.code === 'ENOSPC' || error.code === 'EDQUOT') {
    return new StorageFullError('no room is left on the disk that holds the blobs', { cause: error });
  }
  return error;
}

function call<T = void>(begin: (done: (error: NodeJS.ErrnoException | null, value?: T) => void) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    begin((error, value) => (error === null ? resolve(value as T) : reject(translate(error))));
  });
}

export const open = (path: string, flags: number): Promise<number> => call((done) => fs.open(path, flags, 0o600, done));
export const close = (fd: number): Promise<void> => call((done) => fs.close(fd, done));
export const fsync = (fd: number): Promise<void> => call((done) => fs.fsync(fd, done));
export const fdatasync = (fd: number): Promise<void> => call((done) => fs.fdatasync(fd, done));
export const truncate = (fd: number, length: number): Promise<void> => call((done) => fs.ftruncate(fd, length, done));
export const rename = (from: string, to: string): Promise<void> => call((done) => fs.rename(from, to, done));
export const unlink = (path: string): Promise<void> => call((done) => fs.unlink(path, done));
export const makeFolder = (path: string): Promise<void> => call((done) => fs.mkdir(path, 0o700, done));
export const sizeOfOpen = async (fd: number): Promise<number> =>
  (await call<fs.Stats>((done) => fs.fstat(fd, done))).size;

/** The file's facts, or `undefined` when nothing is there. */
export const look = (path: string): Promise<fs.Stats | undefined> =>
  orMissing(call<fs.Stats>((done) => fs.lstat(path, done)));

/** `undefined` in place of an ObjectMissingError. */
export async function orMissing<T>(attempt: Promise<T>): Promise<T | undefined> {
  try {
    return await attempt;
  } catch (error) {
    if (error instanceof ObjectMissingError) return undefined;
    throw error;
  }
}

/** Opens, uses and always closes. */
export async function withOpen<T>(path: string, flags: number, use: (fd: number) => Promise<T>): Promise<T> {
  const fd = await open(path, flags);
  try {
    return await use(fd);
  } finally {
    await close(fd);
  }
}

/** Fills `buffer` from `position`; fewer bytes than its length only where the file ends. */
export async function readFully(fd: number, buffer: Buffer, position: number): Promise<number> {
  let filled = 0;
  while (filled < buffer.length) {
    const got = await call<number>((done) =>
      fs.read(fd, buffer, filled, buffer.length - filled, position + filled, done),
    );
    if (got === 0) break;
    filled += got;
  }
  return filled;
}

/** Writes every buffer in order, the first at `position`; goes on after short writes. Returns the number of bytes. */
export async function writeFully(fd: number, buffers: readonly Buffer[], position: number): Promise<number> {
  let rest = buffers.filter((buffer) => buffer.length > 0);
  let written = 0;
  while (rest.length > 0) {
    let count = await call<number>((done) => fs.writev(fd, rest, position + written, done));
    written += count;
    // A short write ends anywhere: skip what is whole, cut what was begun.
    let whole = 0;
    while (whole < rest.length && count >= rest[whole]!.length) count -= rest[whole++]!.length;
    rest = rest.slice(whole);
    if (count > 0) rest[0] = rest[0]!.subarray(count);
  }
  return written;
}
