import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { expect, test } from 'vitest';
import { withClient } from './client.ts';

test('is given up at once when told to, also while a server that takes connections says nothing', async () => {
  const sockets: Socket[] = [];
  const silent = createServer((socket) => void sockets.push(socket.on('error', () => undefined)));
  silent.listen(0, '127.0.0.1');
  await once(silent, 'listening');
  const { port } = silent.address() as AddressInfo;
  try {
    const abort = new AbortController();
    const connected = once(silent, 'connection');
    const outcome = withClient({ host: '127.0.0.1', port }, { name: 'test', signal: abort.signal }, async () => 1);
    const ended = expect(outcome).rejects.toThrow('enough');
    await connected;
    abort.abort(new Error('enough'));
    await ended;
  } finally {
    for (const socket of sockets) socket.destroy();
    silent.close();
  }
});
