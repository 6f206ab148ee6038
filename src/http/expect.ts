/**
 * `Expect: 100-continue`, RFC 9110 section 10.1.1: the client holds its body back until it is invited. The invitation goes
 * out when somebody wants to read, so that a body that would be refused is never sent.
 */
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';

const held = new WeakMap<IncomingMessage, ServerResponse>();

/** To be told of every request that waits for an invitation. */
export const holdBody: RequestListener = (req, res) => {
  held.set(req, res);
  // Answered without an invitation, the client may send its body or not: where its next request begins nobody knows.
  res.setHeader('Connection', 'close');
};

/** To be called before a body is read. */
export function inviteBody(req: IncomingMessage): void {
  const res = held.get(req);
  if (res === undefined) return;
  held.delete(req);
  res.removeHeader('Connection');
  res.writeContinue();
}
