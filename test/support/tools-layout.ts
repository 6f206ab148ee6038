/** Images on disk as the image specification lays them out: real layers, for clients that look into them. */
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { mediaTypes } from '../../src/oci/media-types.ts';
import { content, descriptor, makeIndex, type Content } from './images.ts';
import { runOk } from './tools.ts';

export interface Layout {
  readonly index: Content;
  /** The digests, one for each image. */
  readonly configs: readonly string[];
  readonly layers: readonly string[];
}

/**
 * Writes an OCI layout with one index, named `multi`, of an image for each of the architectures. Every image holds one file,
 * `/message`, with this text and its architecture.
 * https://github.com/opencontainers/image-spec/blob/main/image-layout.md
 */
export async function writeLayout(folder: string, message: string, architectures: readonly string[]): Promise<Layout> {
  const blobs = path.join(folder, 'blobs/sha256');
  await mkdir(blobs, { recursive: true });
  const put = async (blob: Content): Promise<void> =>
    writeFile(path.join(blobs, blob.digest.slice('sha256:'.length)), blob.bytes);
  const images = [];
  for (const architecture of architectures) {
    const image = await makeRealImage(folder, `${message} ${architecture}`, architecture);
    for (const blob of [image.config, image.layer, image.manifest]) await put(blob);
    images.push(image);
  }
  const manifests = images.map(({ manifest, architecture }) => ({
    ...descriptor(mediaTypes.ociManifest, manifest),
    platform: { os: 'linux', architecture },
  }));
  const index = makeIndex([], { manifests });
  await put(index);
  const named = {
    ...descriptor(mediaTypes.ociIndex, index),
    annotations: { 'org.opencontainers.image.ref.name': 'multi' },
  };
  await writeFile(path.join(folder, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [named] }));
  await writeFile(path.join(folder, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
  return {
    index,
    configs: images.map(({ config }) => config.digest),
    layers: images.map(({ layer }) => layer.digest),
  };
}

async function makeRealImage(folder: string, message: string, architecture: string) {
  await writeFile(path.join(folder, 'message'), `${message}\n`);
  const archive = path.join(folder, 'layer.tar');
  await runOk('tar', ['--create', '--file', archive, '--directory', folder, 'message']);
  const tar = content(await readAndRemove(archive));
  await rm(path.join(folder, 'message'));
  const layer = content(gzipSync(tar.bytes));
  const config = content(
    JSON.stringify({
      architecture,
      os: 'linux',
      config: { Labels: { message } },
      rootfs: { type: 'layers', diff_ids: [tar.digest] },
      history: [{ created_by: 'tar' }],
    }),
  );
  const manifest = content(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaTypes.ociManifest,
      config: descriptor(mediaTypes.ociConfig, config),
      layers: [descriptor(mediaTypes.ociLayerGzip, layer)],
    }),
  );
  return { architecture, config, layer, manifest };
}

async function readAndRemove(file: string): Promise<Buffer> {
  const bytes = await readFile(file);
  await rm(file);
  return bytes;
}
