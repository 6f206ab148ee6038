import express from 'express';
import supertest from 'supertest';
import { expect, test } from 'vitest';
import { createOpsRouter } from './router.ts';

test('/readyz asks database and storage at once: two that are silent take no longer than one', async () => {
  const asked = Promise.withResolvers<void>();
  const router = createOpsRouter({
    // Answers only when the storage has been asked.
    checkDatabase: () => asked.promise,
    checkStorage: async () => asked.resolve(),
    stopping: () => false,
    onAway: (_dependency, error) => expect.unreachable(String(error)),
  });
  const { status, body } = await supertest(express().use(router)).get('/readyz');
  expect({ status, body }).toEqual({ status: 200, body: { status: 'ready', database: 'ok', storage: 'ok' } });
});
