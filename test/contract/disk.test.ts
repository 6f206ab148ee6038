import { DiskBlobStore } from '../../src/storage/disk/store.ts';
import { describeBlobStore } from './storage.ts';
import { canMount, makeFolder, mountTmpfs } from './storage-folders.ts';

const made = ({ folder, remove }: Awaited<ReturnType<typeof makeFolder>>) => ({
  store: new DiskBlobStore(folder),
  elsewhere: new DiskBlobStore(folder),
  dispose: remove,
});

describeBlobStore('disk', async () => made(await makeFolder()), {
  makeSmallStore: canMount ? async () => made(await mountTmpfs('size=8m')) : undefined,
});
