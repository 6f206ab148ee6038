/** Pages over what a repository has: tags and referrers, by keyset, so that a page costs the same wherever it lies. */
import type { Database } from '../database/pool.ts';
import { digestFromBytes, digestToBytes, type Digest } from '../oci/digest.ts';
import { findReferrers, type ReferrerRow } from './sql/manifests.ts';
import { listTags } from './sql/tags.ts';

/** A page; `more` says that there are further ones behind its last entry. */
export interface Page<T> {
  readonly entries: readonly T[];
  readonly more: boolean;
}

/** A descriptor as the referrers API shows it. */
export interface Referrer {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly size: number;
  readonly artifactType?: string;
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface Listings {
  tags(repositoryId: number, last: string, limit: number): Promise<Page<string>>;
  /** A page ends after `limit` entries or before `bytesMax` bytes of JSON, but has at least one entry while there is one. */
  referrers(
    repositoryId: number,
    subject: Digest,
    options: { artifactType: string | null; last: Digest | null; limit: number; bytesMax: number },
  ): Promise<Page<Referrer>>;
}

/** Sorts before every digest. */
const beforeAll = Buffer.alloc(0);

export function createListings(database: Database): Listings {
  return {
    async tags(repositoryId, last, limit) {
      const names = await listTags(database, repositoryId, last, limit + 1);
      return { entries: names.slice(0, limit), more: names.length > limit };
    },
    async referrers(repositoryId, subject, { artifactType, last, limit, bytesMax }) {
      const behind = last === null ? beforeAll : digestToBytes(last);
      const rows = await findReferrers(database, repositoryId, digestToBytes(subject), artifactType, behind, limit + 1);
      const entries: Referrer[] = [];
      let bytes = 0;
      for (const row of rows.slice(0, limit)) {
        const referrer = referrerOf(row);
        bytes += Buffer.byteLength(JSON.stringify(referrer)) + 1;
        if (bytes > bytesMax && entries.length > 0) break;
        entries.push(referrer);
      }
      return { entries, more: entries.length < rows.length };
    },
  };
}

function referrerOf(row: ReferrerRow): Referrer {
  return {
    mediaType: row.media_type,
    digest: digestFromBytes(row.digest),
    size: row.size,
    ...(row.artifact_type !== null && { artifactType: row.artifact_type }),
    ...(row.annotations !== null && { annotations: row.annotations }),
  };
}
