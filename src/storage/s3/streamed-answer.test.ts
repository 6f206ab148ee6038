import { once } from 'node:events';
import { Agent, createServer, get, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, test } from 'vitest';
import { readInto } from './answer.ts';
import { StreamedAnswer } from './streamed-answer.ts';

test.for([1, 64 * 1024, 3_000_000])(
  'an answer of %d bytes that was read to its end leaves its connection to the next one',
  async (length) => {
    const bytes = Buffer.alloc(length, 'what the object has');
    let connections = 0;
    const server = createServer((_req, res) => res.end(bytes)).on('connection', () => (connections += 1));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    try {
      for (let i = 0; i < 5; i += 1) {
        const { port } = server.address() as AddressInfo;
        const [stream] = (await once(get({ port, agent }), 'response')) as [IncomingMessage];
        const answer = new StreamedAnswer(stream, length, 10_000);
        const target = Buffer.alloc(length);
        await readInto(target, answer);
        answer.destroy();
        expect(target.equals(bytes)).toBe(true);
      }
      expect(connections).toBe(1);
    } finally {
      agent.destroy();
      server.closeAllConnections();
      server.close();
    }
  },
);
