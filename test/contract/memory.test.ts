import { MemoryBlobStore } from '../../src/storage/memory/store.ts';
import { describeBlobStore } from './storage.ts';

const made = async (store = new MemoryBlobStore()) => ({ store, elsewhere: store, dispose: async () => {} });

describeBlobStore('memory', () => made(), {
  makeSmallStore: () => made(new MemoryBlobStore({ bytesMax: 8 * 1024 * 1024 })),
});
