/** A way to a database that can be cut and joined again, or slow: outages and delays as its clients see them. */
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pipeline } from 'node:stream';
import type { EmbeddedConnection } from '../../src/database/embedded/embedded.ts';

export interface DatabaseProxy {
  /** As the database's own, but through here. */
  readonly connection: EmbeddedConnection;
  /** Breaks every connection and refuses new ones. */
  cut(): Promise<void>;
  join(): Promise<void>;
  /** From now on, whoever sends this text gets no more answers until `release`; then all of them at once. */
  hold(text: string): void;
  release(): void;
  close(): Promise<void>;
}

export async function createDatabaseProxy(database: EmbeddedConnection): Promise<DatabaseProxy> {
  const folder = await mkdtemp(path.join(tmpdir(), 'berth-test-'));
  const socketName = `.s.PGSQL.${database.port}`;
  const sockets = new Set<Socket>();
  const held = new Set<Socket>();
  let holdText: string | undefined;
  let server: Server | undefined;
  const proxy: DatabaseProxy = {
    connection: { ...database, host: folder },
    async join() {
      server = createServer((near) => {
        const far = connect(path.join(database.host, socketName));
        for (const socket of [near, far]) sockets.add(socket.on('close', () => sockets.delete(socket)));
        near.on('data', (sent: Buffer) => {
          if (holdText !== undefined && sent.includes(holdText)) held.add(far.pause());
        });
        // Either end may break at any time; that is what this is for.
        pipeline(near, far, () => undefined);
        pipeline(far, near, () => undefined);
      });
      server.listen(path.join(folder, socketName));
      await once(server, 'listening');
    },
    hold(text) {
      holdText = text;
    },
    release() {
      holdText = undefined;
      for (const far of held) far.resume();
      held.clear();
    },
    async cut() {
      const closed = server === undefined ? undefined : once(server, 'close');
      server?.close();
      server = undefined;
      for (const socket of sockets) socket.destroy();
      await closed;
    },
    async close() {
      await proxy.cut();
      await rm(folder, { recursive: true, force: true });
    },
  };
  await proxy.join();
  return proxy;
}
