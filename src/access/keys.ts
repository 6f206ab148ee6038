/** The keys that sign access tokens: ES256, kept in PostgreSQL, so that every process signs and verifies with the same ones. */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  type webcrypto,
} from 'node:crypto';
import type { Database } from '../database/pool.ts';
import {
  currentSigningKey,
  findPublicKey,
  insertSigningKey,
  listPublicKeys,
  lockSigningKeys,
  type SigningKeyRow,
} from './sql/tokens.ts';

export interface SigningKey {
  readonly kid: string;
  readonly privateKey: KeyObject;
}

export interface SigningKeys {
  /** The key to sign with at this moment; asked of the database each time, so that a rotation needs no restart. */
  current(): Promise<SigningKey>;
  /** The key to verify with; undefined when there never was such a key. Whether it is revoked is asked elsewhere, at each request. */
  publicKey(kid: string): Promise<KeyObject | undefined>;
  /** RFC 7517: every key that may still verify a token. */
  jwks(): Promise<{ keys: webcrypto.JsonWebKey[] }>;
}

/** Key objects by kid. A kid never changes its key, so nothing here grows stale; tokens name few of them. */
const cachedKeysMax = 64;

export function createSigningKeys(database: Database): SigningKeys {
  const privateKeys = new Map<string, KeyObject>();
  const publicKeys = new Map<string, KeyObject>();

  async function firstKey(): Promise<SigningKeyRow> {
    return database.transaction(async (queryer) => {
      await lockSigningKeys(queryer);
      const existing = await currentSigningKey(queryer);
      if (existing !== undefined) return existing;
      const row = generateKey();
      await insertSigningKey(queryer, row);
      return row;
    });
  }

  return {
    async current() {
      const row = (await currentSigningKey(database)) ?? (await firstKey());
      return { kid: row.kid, privateKey: remember(privateKeys, row.kid, () => createPrivateKey(row.private_key)) };
    },
    async publicKey(kid) {
      const known = publicKeys.get(kid);
      if (known !== undefined) return known;
      const pem = await findPublicKey(database, kid);
      return pem === undefined ? undefined : remember(publicKeys, kid, () => createPublicKey(pem));
    },
    async jwks() {
      const rows = await listPublicKeys(database);
      return {
        keys: rows.map((row) => ({
          ...createPublicKey(row.public_key).export({ format: 'jwk' }),
          kid: row.kid,
          alg: 'ES256',
          use: 'sig',
        })),
      };
    },
  };
}

function remember(keys: Map<string, KeyObject>, kid: string, make: () => KeyObject): KeyObject {
  let key = keys.get(kid);
  if (key === undefined) {
    key = make();
    if (keys.size >= cachedKeysMax) keys.clear();
    keys.set(kid, key);
  }
  return key;
}

/** A new key pair, as rows keep it. */
export function generateKey(): SigningKeyRow {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const kid = createHash('sha256')
    .update(publicKey.export({ type: 'spki', format: 'der' }))
    .digest('base64url')
    .slice(0, 16);
  return {
    kid,
    private_key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
    public_key: publicKey.export({ type: 'spki', format: 'pem' }) as string,
  };
}
