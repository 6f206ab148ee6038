/** What is being answered on each connection, for those who have only the connection. */
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

export interface Connections {
  /** To be told of every request, before it is answered. */
  readonly watch: RequestListener;
  /** The newest request on a connection, and its answer. */
  newest(socket: Socket): { readonly req: IncomingMessage; readonly res: ServerResponse } | undefined;
  /** To be told of every connection. */
  readonly opened: (socket: Socket) => void;
  /** Lets every connection that waits for an answer end with it. */
  closeBehindAnswers(): void;
}

export function createConnections(): Connections {
  const newest = new WeakMap<Socket, { readonly req: IncomingMessage; readonly res: ServerResponse }>();
  const open = new Set<Socket>();
  return {
    watch(req, res) {
      newest.set(req.socket, { req, res });
    },
    newest: (socket) => newest.get(socket),
    opened(socket) {
      open.add(socket);
      socket.once('close', () => open.delete(socket));
    },
    closeBehindAnswers() {
      for (const socket of open) {
        const res = newest.get(socket)?.res;
        if (res !== undefined && !res.headersSent) res.setHeader('Connection', 'close');
      }
    },
  };
}

/**
 * A server's `timeout` listener: ends a connection on which nothing has moved for the idle time-out. Unless its request came
 * whole and has no answer yet: then it is we who are slow, and the client who waits.
 */
export function createIdleListener(connections: Connections, idleMs: number): (socket: Socket) => void {
  return (socket) => {
    const last = connections.newest(socket);
    if (last !== undefined && last.req.complete && !last.res.headersSent) socket.setTimeout(idleMs);
    else socket.destroy();
  };
}
