/** What never became a request: answered in a form that clients of a registry can print. */
import { STATUS_CODES, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Connections } from './connections.ts';

/**
 * How long a refused connection is still read from. Closed at once, what the client goes on sending would be answered with
 * a reset, and that would take the refusal from it before it is read (RFC 9112 section 9.6).
 */
const lingerMs = 1000;

/**
 * A server's `clientError` listener. A refusal is a line of its own on the connection: never in the middle of an answer, and
 * never before the answer to a request that came whole. So it must know what is being answered.
 */
export function createRefuse(connections: Connections): (error: Error & { code?: string }, socket: Socket) => void {
  const refused = new WeakSet<Socket>();

  function end(error: { code?: string }, socket: Socket): void {
    if (!socket.writable) {
      socket.destroy();
      return;
    }
    socket.end(refusalText(error.code));
    const linger = setTimeout(() => socket.destroy(), lingerMs);
    socket.once('close', () => clearTimeout(linger));
  }

  return (error, socket) => {
    // The parser reports whatever else comes behind the first error too.
    if (refused.has(socket)) return;
    refused.add(socket);
    const last = connections.newest(socket);
    if (last === undefined || last.res.writableFinished) return end(error, socket);
    // Behind a whole request: its answer, and those before it, come first.
    if (last.req.complete) return void last.res.once('finish', () => end(error, socket));
    // Within a body: the refusal is the answer, if it is that request's turn and nothing of another was sent.
    if (last.res.socket === socket && !last.res.headersSent) return end(error, socket);
    socket.destroy();
  };
}

/** Refuses what the parser lets through although the standard does not. */
export function refuseRequest(res: ServerResponse): void {
  const [status, message] = refusalOf(undefined);
  res.writeHead(status, { Connection: 'close', 'Content-Type': 'application/json' }).end(bodyOf(message));
}

const bodyOf = (message: string): string => JSON.stringify({ errors: [{ code: 'UNSUPPORTED', message }] });

function refusalText(code: string | undefined): string {
  const [status, message] = refusalOf(code);
  const body = bodyOf(message);
  return `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
}

function refusalOf(code: string | undefined): [number, string] {
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return [431, 'the headers of the request are larger than this registry accepts'];
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return [413, 'the chunk extensions of the request are larger than this registry accepts'];
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return [408, 'the request took too long to arrive'];
    default:
      return [400, 'this is not a valid HTTP request'];
  }
}
