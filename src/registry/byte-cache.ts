import { LRUCache } from 'lru-cache';
import type { Digest } from '../oci/digest.ts';

/** What an entry costs beside its bytes, about. */
const entryBytes = 256;

/**
 * Content by digest in memory, the least recently used of it forgotten first. What a digest names never changes, so nothing
 * in here grows stale; who may read it is asked each time.
 * @param bytesMax 0 keeps nothing
 */
export function createByteCache(bytesMax: number): LRUCache<Digest, Buffer> {
  // The library takes no 0; in one byte fits no entry.
  return new LRUCache({ maxSize: Math.max(1, bytesMax), sizeCalculation: (bytes) => bytes.length + entryBytes });
}
