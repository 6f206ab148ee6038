/** Listings in pages: `limit` and `cursor`, where a cursor is the key of the last entry, so that nothing is counted or skipped. */
import { z } from 'zod';
import { isKeepable } from '../../oci/fields.ts';

const limitMax = 100;
const limitDefault = 50;
const cursorCharsMax = 1024;

/** The key behind which a page begins: what the listing is ordered by. */
export type PageKey = readonly (string | number)[];

const limitSchema = z
  .string()
  .regex(/^[1-9]\d{0,2}$/, `must be a whole number from 1 to ${limitMax}`)
  .transform(Number)
  .refine((limit) => limit <= limitMax, `must be a whole number from 1 to ${limitMax}`)
  .default(limitDefault)
  .meta({
    description: 'The most entries on a page.',
    override: ({ jsonSchema }) => {
      delete jsonSchema.pattern;
      Object.assign(jsonSchema, { type: 'integer', minimum: 1, maximum: limitMax, default: limitDefault });
    },
  });

/**
 * The parameters of a listing, to be spread into its query: `z.strictObject({ ...pageQuery(z.tuple([z.string()])), ... })`.
 * The handler gets `limit` as a number and `cursor` as the key, or undefined for the first page.
 */
export function pageQuery<Key extends z.ZodType<PageKey, PageKey>>(key: Key) {
  const cursor = z
    .string()
    .max(cursorCharsMax)
    .transform((text, context): z.output<Key> => {
      const result = key.safeParse(decode(text));
      if (result.success) return result.data;
      context.addIssue('is no cursor of this listing; take it from the Link header of the page before');
      return z.NEVER;
    })
    .optional()
    .meta({ description: 'Where the page begins, as the `Link` header of the page before says it.' });
  return { limit: limitSchema, cursor };
}

/** The body of a page. */
export function pageSchema<Item extends z.ZodType>(item: Item) {
  return z.strictObject({ items: z.array(item).meta({ description: 'In the order of the listing.' }) });
}

/**
 * Cuts a page.
 * @param rows the entries behind the cursor, one more than `limit` when there are more
 * @returns its entries, and the key behind which the next page begins, if there is one
 */
export function cutPage<Row>(
  rows: readonly Row[],
  limit: number,
  keyOf: (row: Row) => PageKey,
): { items: readonly Row[]; next: PageKey | undefined } {
  if (rows.length <= limit) return { items: rows, next: undefined };
  return { items: rows.slice(0, limit), next: keyOf(rows[limit - 1]!) };
}

/** @param url the address of this page, with its query @returns the `Link` header to the next one (RFC 8288), with all other parameters kept */
export function nextLink(origin: string, url: string, key: PageKey): string {
  const { pathname, searchParams } = new URL(url, 'http://relative.invalid');
  searchParams.set('cursor', Buffer.from(JSON.stringify(key)).toString('base64url'));
  return `<${origin}${pathname}?${searchParams.toString()}>; rel="next"`;
}

/** Undefined for what no page of ours ever named. */
function decode(text: string): unknown {
  const bytes = Buffer.from(text, 'base64url');
  if (bytes.toString('base64url') !== text) return undefined;
  try {
    const key: unknown = JSON.parse(bytes.toString());
    const keepable = Array.isArray(key) && key.every((each) => typeof each !== 'string' || isKeepable(each));
    return keepable ? key : undefined;
  } catch {
    return undefined;
  }
}
