/** Parameters of paged listings, and the link to the next page (RFC 8288). */
import { RegistryError } from '../../oci/errors.ts';
import { parameter, type Exchange } from './exchange.ts';

/**
 * The `n` parameter: entries on a page.
 * @returns `max` when it is not given or larger
 * @throws RegistryError `parameterInvalid` when it is not a whole number
 */
export function pageSize(query: string, max: number): number {
  const text = parameter(query, 'n');
  if (text === null) return max;
  if (!/^\d{1,10}$/.test(text))
    throw new RegistryError('parameterInvalid', {
      message: `n must be a whole number, not "${text.slice(0, 40)}"`,
      detail: { n: text.slice(0, 40) },
    });
  return Math.min(Number(text), max);
}

/** The `Link` header to the page behind `last`. */
export function nextLink(
  exchange: Exchange,
  address: string,
  parameters: Readonly<Record<string, string>>,
): { Link: string } {
  return { Link: `<${exchange.origin()}${address}?${new URLSearchParams(parameters).toString()}>; rel="next"` };
}
