/** A way to a server on which a test stops answers on their way back, or that is shut: what both ends are at when one of them dies. */
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type NetConnectOpts, type Socket } from 'node:net';
import { pipeline } from 'node:stream';

export interface Gate {
  /** `127.0.0.1:PORT`. */
  readonly host: string;
  /** From now on, whoever sends this text gets no more answers until `release`; the server does what it is asked. */
  hold(text: string): void;
  /** What those sent whose answers are held, up to the end of its first piece. */
  readonly held: readonly string[];
  release(): void;
  /** Breaks every connection, and each new one. */
  shut(): void;
  open(): void;
  close(): Promise<void>;
}

export async function createGate(to: NetConnectOpts): Promise<Gate> {
  const sockets = new Set<Socket>();
  const paused = new Map<Socket, string>();
  let holdText: string | undefined;
  let isShut = false;
  const server = createServer((near) => {
    if (isShut) return void near.resetAndDestroy();
    const far = connect(to);
    for (const socket of [near, far]) sockets.add(socket.on('close', () => sockets.delete(socket)));
    near.on('data', (sent: Buffer) => {
      if (holdText !== undefined && sent.includes(holdText)) paused.set(far.pause(), sent.toString('latin1'));
    });
    // Paused, it would never hear that nobody waits any more.
    near.on('close', () => {
      paused.delete(far);
      far.destroy();
    });
    pipeline(near, far, () => undefined);
    pipeline(far, near, () => undefined);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');

  function breakAll(): void {
    for (const socket of sockets) socket.destroy();
  }
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    hold(text) {
      holdText = text;
    },
    get held() {
      return [...paused.values()];
    },
    release() {
      holdText = undefined;
      for (const far of paused.keys()) far.resume();
      paused.clear();
    },
    shut() {
      isShut = true;
      breakAll();
    },
    open() {
      isShut = false;
    },
    async close() {
      const closed = once(server, 'close');
      server.close();
      breakAll();
      await closed;
    },
  };
}
