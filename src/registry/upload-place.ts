/** The place where an upload's bytes gather: opened so that place, writer and hash agree on the same first bytes. */
import type { Readable } from 'node:stream';
import { LRUCache } from 'lru-cache';
import { createDigester, digestFromBytes, type Digest, type DigestAlgorithm, type Digester } from '../oci/digest.ts';
import { RegistryError } from '../oci/errors.ts';
import type { BlobStore, UploadState, UploadWriter } from '../storage/port.ts';
import { receive, type Received } from './receive.ts';
import type { LeasedRow, UploadRow } from './sql/uploads.ts';

/** What a request brings to append. */
export interface Chunk {
  /** Null when the request has none. */
  readonly body: Readable | null;
  /** Told of each buffer of the body that is not needed any more. */
  readonly release?: (buffer: Buffer) => void;
  /** Where the sender says that the chunk begins and ends (inclusive); null when it only streams on. */
  readonly range: { readonly start: number; readonly end: number } | null;
}

/** An upload that is being written. */
export interface Place {
  readonly state: UploadState;
  readonly writer: UploadWriter;
  /** Over every byte that the place has. */
  readonly digester: Digester;
  /** An earlier place of the same upload, to be freed once this one is recorded. */
  readonly replaces: UploadState | null;
  /** Whether the upload's row does not know this place yet. */
  readonly fresh: boolean;
}

export interface Places {
  /** A place without an upload row, for a blob that comes in one request. */
  create(uploadId: string, algorithm: DigestAlgorithm): Promise<Place>;
  /**
   * The place of a leased upload, ready for more. Reading back what it has may take long, and ends early by the signal.
   * @throws RegistryError `uploadInvalid` when the bytes are not those that were recorded; ObjectMissingError, ObjectSizeError
   */
  open(row: LeasedRow, algorithm: DigestAlgorithm, signal: AbortSignal): Promise<Place>;
  /** The digest of all bytes recorded so far, read back only where another algorithm is asked for. */
  digestSoFar(row: UploadRow, algorithm: DigestAlgorithm, signal: AbortSignal): Promise<Digest>;
  /** Appends a chunk. @throws RegistryError `sizeInvalid`, `bodyTooLarge`; the place has been discarded then */
  receive(place: Place, chunk: Chunk, signal: AbortSignal): Promise<Received>;
  /** Lets go of a place as if nothing had come. */
  discard(place: Place): Promise<void>;
  /** Keeps the hash state for the next chunk, should it come to this process. */
  remember(uploadId: string, digester: Digester): void;
  forget(uploadId: string): void;
}

/** Hash states of uploads under way in this process. Losing one costs re-reading the prefix. */
const hashStatesMax = 1000;

export function createPlaces(store: BlobStore, blobBytesMax: number): Places {
  const hashStates = new LRUCache<string, Digester>({ max: hashStatesMax });

  async function create(
    uploadId: string,
    algorithm: DigestAlgorithm,
    replaces: UploadState | null = null,
  ): Promise<Place> {
    const state = store.begin(uploadId);
    return {
      state,
      writer: await store.openWriter(state, 0),
      digester: createDigester(algorithm),
      replaces,
      fresh: true,
    };
  }

  async function discard(place: Place): Promise<void> {
    await place.writer.close();
    if (place.fresh) await store.abort(place.state);
  }

  async function rehash(row: UploadRow, algorithm: DigestAlgorithm, signal: AbortSignal): Promise<Digester> {
    const digester = createDigester(algorithm);
    if (row.byte_offset === 0) return digester;
    for await (const bytes of store.readUpload(stateOf(row), row.byte_offset)) {
      signal.throwIfAborted();
      digester.update(bytes);
    }
    return digester;
  }

  /** Takes the hash state out of the memory, so that two requests never feed the same one. */
  async function digesterFor(row: UploadRow, algorithm: DigestAlgorithm, signal: AbortSignal): Promise<Digester> {
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

  /** The old writer may wake and write into the old place: go on in a new one, with a checked copy. */
  async function takeOver(row: LeasedRow, algorithm: DigestAlgorithm, signal: AbortSignal): Promise<Place> {
    const place = await create(row.id, algorithm, stateOf(row));
    const check = algorithm === row.algorithm ? place.digester : createDigester(row.algorithm);
    try {
      for await (const bytes of store.readUpload(stateOf(row), row.byte_offset)) {
        signal.throwIfAborted();
        place.digester.update(bytes);
        if (check !== place.digester) check.update(bytes);
        await place.writer.write([bytes]);
      }
      if (check.digest() !== recordedDigest(row))
        throw new RegistryError('uploadInvalid', { message: 'the bytes of this upload were damaged; start a new one' });
      return place;
    } catch (error) {
      await discard(place);
      throw error;
    }
  }

  return {
    create: (uploadId, algorithm) => create(uploadId, algorithm),
    discard,
    async open(row, algorithm, signal) {
      if (row.byte_offset === 0) return create(row.id, algorithm, row.storage_state);
      if (row.taken_over) return takeOver(row, algorithm, signal);
      const digester = await digesterFor(row, algorithm, signal);
      return {
        state: stateOf(row),
        writer: await store.openWriter(stateOf(row), row.byte_offset),
        digester,
        replaces: null,
        fresh: false,
      };
    },
    async digestSoFar(row, algorithm, signal) {
      if (algorithm === row.algorithm && row.byte_offset > 0) return recordedDigest(row);
      return (await rehash(row, algorithm, signal)).digest();
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
        await discard(place);
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

function recordedDigest(row: UploadRow): Digest {
  if (row.digest_so_far === null) throw new Error(`upload ${row.id} has bytes but no digest`);
  return digestFromBytes(row.digest_so_far);
}

function stateOf(row: UploadRow): UploadState {
  if (row.storage_state === null) throw new Error(`upload ${row.id} has bytes but no place`);
  return row.storage_state;
}
