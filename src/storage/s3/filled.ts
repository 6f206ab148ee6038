/** Buffers with the bytes that wait to be sent. */
import { partBytesMin } from './options.ts';

/** Bytes in the front of a buffer. */
export interface Filled {
  readonly buffer: Buffer;
  length: number;
  readonly since: number;
  grownAt: number;
}

export const bytesIn = ({ buffer, length }: Filled): Buffer => buffer.subarray(0, length);

/**
 * Two buffers of which the second is too short for a part: its bytes go behind the first's where there is room, and the second
 * is empty then; else, unless it may be the last part, it gets as many of the first's as it lacks.
 */
export function evenOut(ready: Filled, filling: Filled, maybeLast: boolean): 'joined' | 'two' {
  if (filling.length >= partBytesMin) return 'two';
  if (ready.length + filling.length <= ready.buffer.length) {
    ready.length += bytesIn(filling).copy(ready.buffer, ready.length);
    return 'joined';
  }
  if (!maybeLast) {
    const moved = partBytesMin - filling.length;
    filling.buffer.copyWithin(moved, 0, filling.length);
    ready.length -= moved;
    ready.buffer.copy(filling.buffer, 0, ready.length, ready.length + moved);
    filling.length = partBytesMin;
  }
  return 'two';
}
