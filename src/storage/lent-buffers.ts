/** Buffers of 1 MiB for readers: a socket takes long writes at half the cost of short ones. */

export const lentBytes = 1024 * 1024;
/** What an idle process keeps; more are made when more readers are at work. */
const idleBuffersMax = 8;

const idleBuffers: Buffer[] = [];

export const borrow = (): Buffer => idleBuffers.pop() ?? Buffer.allocUnsafeSlow(lentBytes);

/** From a reader whose consumer has done with it. */
export function giveBack(buffer: Buffer): void {
  if (idleBuffers.length < idleBuffersMax) idleBuffers.push(buffer);
}
