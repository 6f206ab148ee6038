import { argon2Sync } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { generatePassword, hashPassword, verifyNothing, verifyPassword } from './passwords.ts';

describe('a hashed password', () => {
  test.each(['correct horse battery', 'ü'.repeat(100), '\0', ' '])(
    '%j is known again, and no other',
    async (password) => {
      const hash = await hashPassword(password);
      expect(hash).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
      expect(await verifyPassword(password, hash)).toBe(true);
      expect(await verifyPassword(`${password} `, hash)).toBe(false);
      expect(await verifyPassword('', hash)).toBe(false);
    },
  );

  test('is another each time', async () => {
    expect(await hashPassword('same')).not.toBe(await hashPassword('same'));
  });

  test('of other parameters is known too, so that they can be changed', async () => {
    const nonce = Buffer.from('somesaltsomesalt');
    const tag = argon2Sync('argon2id', {
      message: 'password',
      nonce,
      tagLength: 24,
      memory: 64,
      passes: 3,
      parallelism: 2,
    });
    const b64 = (bytes: Buffer): string => bytes.toString('base64').replace(/=+$/, '');
    const hash = `$argon2id$v=19$m=64,t=3,p=2$${b64(nonce)}$${b64(tag)}`;
    expect(await verifyPassword('password', hash)).toBe(true);
    expect(await verifyPassword('Password', hash)).toBe(false);
  });

  test('a damaged one is an error of ours, not a wrong password', async () => {
    await expect(verifyPassword('x', 'x')).rejects.toThrow('not an argon2id PHC string');
  });

  test('nothing verifies against no account', async () => {
    expect(await verifyNothing('anything')).toBe(false);
  });
});

test('generated passwords differ, and can be read aloud', () => {
  const made = new Set(Array.from({ length: 100 }, () => generatePassword()));
  expect(made.size).toBe(100);
  for (const password of made) expect(password).toMatch(/^[a-km-np-z2-9]{24}$/);
});
