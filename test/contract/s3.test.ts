import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe } from 'vitest';
import { S3BlobStore } from '../../src/storage/s3/store.ts';
import { titled } from '../support/tools.ts';
import { noS3Server, s3OptionsOf, startS3Server, type S3Server } from '../support/s3-server.ts';
import { describeBlobStore } from './storage.ts';

describe.skipIf(noS3Server !== undefined)(titled('on S3', noS3Server), () => {
  let server: S3Server;
  beforeAll(async () => {
    server = await startS3Server();
  });
  afterAll(() => server.stop());

  const makeStore = async () => {
    const bucket = randomUUID();
    await server.makeBucket(bucket);
    const options = s3OptionsOf(server, bucket);
    const elsewhere = new S3BlobStore(options);
    return { store: new S3BlobStore(options), elsewhere, dispose: () => elsewhere.close() };
  };
  // How a server says that it is full differs: src/storage/s3/errors.test.ts.
  describeBlobStore('s3', makeStore, { makeSmallStore: null });
});
