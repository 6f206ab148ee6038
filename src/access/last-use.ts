/** When, from where and by what a credential was last used: kept in memory for some seconds and written many at once. */
import { LRUCache } from 'lru-cache';
import type { Database } from '../database/pool.ts';
import type { RequestOrigin } from './actor.ts';
import { updateLastUse, type LastUseRow } from './sql/credentials.ts';

export interface LastUse {
  /** Notes a use. Costs no statement of its own; a credential in constant use is written once a minute. */
  note(credentialId: number, origin: RequestOrigin): void;
  /** Writes what was noted. */
  close(): Promise<void>;
}

const flushMs = 5000;
/** What a person wants to know is the day, seldom the minute. */
const freshMs = 60_000;
/** Noted and not yet written; beyond this the oldest is forgotten: it is a courtesy, not a fact that anything rests on. */
const pendingMax = 10_000;

export function createLastUse(database: Database, onError: (error: unknown) => void): LastUse {
  const written = new LRUCache<number, true>({ max: pendingMax, ttl: freshMs });
  let pending = new Map<number, LastUseRow>();

  async function flush(): Promise<void> {
    if (pending.size === 0) return;
    const rows = [...pending.values()];
    pending = new Map();
    try {
      await updateLastUse(database, rows);
    } catch (error) {
      onError(error);
    }
  }
  const timer = setInterval(() => void flush(), flushMs);
  timer.unref();

  return {
    note(credentialId, { address, client }) {
      if (written.has(credentialId) || pending.size >= pendingMax) return;
      written.set(credentialId, true);
      pending.set(credentialId, { credentialId, usedAt: new Date(), address, client: client?.slice(0, 256) ?? null });
    },
    async close() {
      clearInterval(timer);
      await flush();
    },
  };
}
