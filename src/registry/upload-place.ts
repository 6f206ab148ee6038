/** The place where an upload's bytes gather: opened so that place, writer and hash agree on the same first bytes. */
import type { Readable } from 'node:stream';
import { LRUCache } from 'lru-cache';
import { createDigester, digestFromBytes, type Digest, type DigestAlgorithm } from '../oci/digest.ts';
import { RegistryError } from '../oci/errors.ts';
import {
  StorageUnavailableError,
  UploadUnreadableError,
  type BlobStore,
  type UploadState,
  type UploadWriter,
} from '../storage/port.ts';
import { receive, type Received } from './receive.ts';
import type { SessionPlaces, UploadRow } from './sql/uploads.ts';
import type { Lease } from './upload-lease.ts';

/** What a request brings to append. */
export interface Chunk {
  /** Null when the request has none. */
  readonly body: Readable | null;
  /** Told of each buffer of the body that is not needed any more. */
  readonly release?: (buffer: Buffer) => void;
  /** Where the sender says that the chunk begins and ends (inclusive); null when it only streams on. */
  readonly range: { readonly start: number; readonly end: number } | null;
}

/** Counts the bytes of a place, and hashes them unless its first ones are known to another process only and cannot be read back. */
export interface PlaceDigester {
  update(chunk: Uint8Array): void;
  /** Of everything so far; null where it is not known. */
  digest(): Digest | null;
  readonly bytes: number;
}

/** An upload that is being written. */
export interface Place {
  readonly state: UploadState;
  readonly writer: UploadWriter;
  /** Over every byte that the place has. */
  readonly digester: PlaceDigester;
  /** What has been noted for this writer so far; what its `finish` returns stands for all of it. */
  readonly noted: readonly UploadState[];
  /** Notes a place that is about to get its first byte. */
  note(place: UploadState): Promise<void>;
  /** An earlier place of the same upload, to be freed once this one is recorded. */
  readonly replaces: UploadState | null;
  /** Whether the upload's row does not know this place yet. */
  readonly fresh: boolean;
}

export interface Places {
  /**
   * The place of a leased upload, ready for more. Reading back what it has may take long, and ends early by the lease's signal.
   * @throws RegistryError `uploadInvalid` when the bytes are not those that were recorded; ObjectMissingError, ObjectSizeError
   */
  open(lease: Lease, algorithm: DigestAlgorithm): Promise<Place>;
  /**
   * A new place for an upload that was taken over, with a checked copy of its bytes: the old writer may wake and write into
   * the old one.
   * @throws as `open`, and UploadUnreadableError
   */
  copy(lease: Lease, algorithm: DigestAlgorithm): Promise<Place>;
  /** The digest of all bytes recorded so far, read back only where it is not recorded; null where that cannot be done. */
  digestSoFar(row: UploadRow, algorithm: DigestAlgorithm, signal: AbortSignal): Promise<Digest | null>;
  /** Appends a chunk. @throws RegistryError `sizeInvalid`, `bodyTooLarge`; the place has been discarded then */
  receive(place: Place, chunk: Chunk, signal: AbortSignal): Promise<Received>;
  /** Lets go of a place as if nothing had come. @param cause why, if it is an error */
  discard(place: Place, cause?: unknown): Promise<void>;
  /** Keeps the hash state for the next chunk, should it come to this process. */
  remember(uploadId: string, digester: PlaceDigester): void;
  forget(uploadId: string): void;
}

/** Hash states of uploads under way in this process. Losing one costs re-reading the prefix. */
const hashStatesMax = 1000;
/** Places that requests have left behind in one session: a fault leaves one of them, or two names for it. */
const otherPlacesMax = 200;

export function createPlaces(store: BlobStore, blobBytesMax: number): Places {
  const hashStates = new LRUCache<string, PlaceDigester>({ max: hashStatesMax });

  /** A writer whose new places are noted before they get a byte. */
  async function openWriter(lease: Lease, state: UploadState, offset: number) {
    if (lease.otherPlaces.length >= otherPlacesMax)
      throw new RegistryError('uploadInvalid', { message: 'too many chunks of this upload failed; start a new one' });
    const noted: UploadState[] = [];
    const note = async (place: UploadState): Promise<void> => {
      await lease.note(place);
      noted.push(place);
    };
    return { writer: await store.openWriter(state, offset, { note, takenOver: lease.row.taken_over }), noted, note };
  }

  async function create<D extends PlaceDigester>(lease: Lease, digester: D): Promise<Place & { digester: D }> {
    const state = store.begin(lease.row.id);
    const replaces = lease.row.storage_state;
    return { state, ...(await openWriter(lease, state, 0)), digester, replaces, fresh: true };
  }

  async function discard({ writer, fresh, noted, state }: Place, cause?: unknown): Promise<void> {
    await writer.close();
    // A storage that does not answer is not waited for twice: what is there is found by its row, or by a listing.
    if (!fresh || cause instanceof StorageUnavailableError) return;
    if (noted.length === 0) return store.abort(state);
    // It stays noted until the session ends: where this fails it is done again then.
    for (const place of noted) await store.abort(place).catch(() => undefined);
  }

  async function rehash(row: UploadRow, algorithm: DigestAlgorithm, signal: AbortSignal): Promise<PlaceDigester> {
    const digester = createDigester(algorithm);
    if (row.byte_offset === 0) return digester;
    try {
      for await (const bytes of store.readUpload(stateOf(row), row.byte_offset)) {
        signal.throwIfAborted();
        digester.update(bytes);
      }
    } catch (error) {
      if (error instanceof UploadUnreadableError) return countFrom(row.byte_offset);
      throw error;
    }
    return digester;
  }

  /** Takes the hash state out of the memory, so that two requests never feed the same one. */
  async function digesterFor(row: UploadRow, algorithm: DigestAlgorithm, signal: AbortSignal): Promise<PlaceDigester> {
    const known = hashStates.get(row.id);
    hashStates.delete(row.id);
    // Only where it is the state of exactly the row's bytes: another process may have gone on meanwhile.
    const current =
      known !== undefined &&
      algorithm === row.algorithm &&
      known.bytes === row.byte_offset &&
      known.digest() === recordedDigest(row);
    return current ? known : rehash(row, algorithm, signal);
  }

  async function copy(lease: Lease, algorithm: DigestAlgorithm): Promise<Place> {
    const { row, signal } = lease;
    const place = await create(lease, createDigester(algorithm));
    const check = algorithm === row.algorithm ? place.digester : createDigester(row.algorithm);
    try {
      for await (const bytes of store.readUpload(stateOf(row), row.byte_offset)) {
        signal.throwIfAborted();
        place.digester.update(bytes);
        if (check !== place.digester) check.update(bytes);
        await place.writer.write([bytes]);
      }
      const recorded = recordedDigest(row);
      if (recorded !== null && check.digest() !== recorded)
        throw new RegistryError('uploadInvalid', { message: 'the bytes of this upload were damaged; start a new one' });
      return place;
    } catch (error) {
      await discard(place, error);
      throw error;
    }
  }

  /** Where nothing can be copied, the store keeps the old writer away from what the new one writes. */
  async function openSame(lease: Lease, algorithm: DigestAlgorithm): Promise<Place> {
    const { row, signal } = lease;
    const state = stateOf(row);
    const digester = await digesterFor(row, algorithm, signal);
    return { state, ...(await openWriter(lease, state, row.byte_offset)), digester, replaces: null, fresh: false };
  }

  return {
    copy,
    discard,
    async open(lease, algorithm) {
      const { byte_offset: offset, taken_over: isTakenOver } = lease.row;
      if (offset === 0) return create(lease, createDigester(algorithm));
      if (!isTakenOver) return openSame(lease, algorithm);
      try {
        return await copy(lease, algorithm);
      } catch (error) {
        if (!(error instanceof UploadUnreadableError)) throw error;
        return openSame(lease, algorithm);
      }
    },
    async digestSoFar(row, algorithm, signal) {
      const recorded = algorithm === row.algorithm ? recordedDigest(row) : null;
      return recorded ?? (await rehash(row, algorithm, signal)).digest();
    },
    async receive(place, chunk, signal) {
      try {
        const bytesMax = blobBytesMax - place.digester.bytes;
        const received =
          chunk.body === null
            ? { bytes: 0, interrupted: undefined }
            : await receive(chunk.body, { ...place, release: chunk.release, bytesMax, signal });
        if (received.interrupted === undefined) refuseOtherLength(chunk, received.bytes);
        return received;
      } catch (error) {
        await discard(place, error);
        throw error;
      }
    },
    remember(uploadId, digester) {
      hashStates.set(uploadId, digester);
    },
    forget(uploadId) {
      hashStates.delete(uploadId);
    },
  };
}

/** @throws RegistryError `sizeInvalid` when the chunk is not as long as its Content-Range says */
export function refuseOtherLength({ range }: Chunk, bytes: number): void {
  if (range === null) return;
  const announced = range.end - range.start + 1;
  if (announced !== bytes)
    throw new RegistryError('sizeInvalid', {
      message: `the Content-Range announces ${announced} bytes, but ${bytes} came`,
    });
}

/**
 * The places of a session that ends without a blob, as far as rows alone know of them, or another process' store: they are
 * left to the sweep in the transaction of its end. Where that is none, its place can be freed after the session has ended, for
 * a listing shows it.
 */
export function placesInRows(store: BlobStore, session: SessionPlaces): readonly UploadState[] {
  const { storage_state: state, other_places: others } = session;
  if (state === null) return others;
  const isListed = store.recognizes(state) && store.objectOf(state) === null;
  return isListed && others.length === 0 ? [] : [...others, state];
}

function countFrom(offset: number): PlaceDigester {
  let bytes = offset;
  return {
    update(chunk) {
      bytes += chunk.byteLength;
    },
    digest: () => null,
    get bytes() {
      return bytes;
    },
  };
}

function recordedDigest(row: UploadRow): Digest | null {
  return row.digest_so_far === null ? null : digestFromBytes(row.digest_so_far);
}

function stateOf(row: UploadRow): UploadState {
  if (row.storage_state === null) throw new Error(`upload ${row.id} has bytes but no place`);
  return row.storage_state;
}
