/** Addresses of /api/v1 as templates: routing and OpenAPI come from the same text. */

export const apiPrefix = '/api/v1';

/**
 * Made of literal segments, `{user}` (one segment) and `{name+}` (one or more segments, as repository names have). No segment
 * of a repository's name is `-`, so `/-` ends it: `/repositories/{name+}/-/members/{user}`. A template that ends in
 * `{name+}/-` also takes addresses without the `/-`.
 */
export interface PathTemplate {
  readonly text: string;
  /** Matches the whole path of a request, `apiPrefix` included; its named groups are the parameters, not decoded. */
  readonly pattern: RegExp;
  readonly names: readonly string[];
  /** Names of the parameters that may hold slashes. */
  readonly manySegments: readonly string[];
  /** The path as OpenAPI writes it. */
  readonly openApiPath: string;
}

const segmentPattern = /^(?:[a-z0-9._-]+|\{(?<name>[a-zA-Z]\w*)(?<many>\+)?\})$/;

/** @throws TypeError when the text is no template */
export function parseTemplate(text: string): PathTemplate {
  const segments = segmentsOf(text);
  const groups = segments.map(({ literal, name, many }) => {
    if (name === undefined) return `/${RegExp.escape(literal)}`;
    return many ? `(?!/-(?:/|$))/(?<${name}>(?:(?!/-(?:/|$)).)+?)` : `/(?<${name}>[^/]+)`;
  });
  const shortForm = segments.at(-2)?.many === true && segments.at(-1)?.literal === '-';
  if (shortForm) groups.push(`(?:${groups.pop()})?`);
  return {
    text,
    pattern: new RegExp(`^${apiPrefix}${groups.join('')}$`),
    names: segments.flatMap(({ name }) => name ?? []),
    manySegments: segments.flatMap(({ name, many }) => (many ? name! : [])),
    openApiPath: apiPrefix + text.replaceAll('+}', '}'),
  };
}

interface Segment {
  readonly literal: string;
  readonly name: string | undefined;
  readonly many: boolean;
}

function segmentsOf(text: string): Segment[] {
  if (!text.startsWith('/')) throw new TypeError(`${text} does not begin with a slash`);
  return text
    .slice(1)
    .split('/')
    .map((literal) => {
      const match = segmentPattern.exec(literal);
      if (match === null) throw new TypeError(`"${literal}" is no segment of a path template: ${text}`);
      return { literal, name: match.groups?.['name'], many: match.groups?.['many'] !== undefined };
    });
}

/** Orders templates so that of two that match the same path the one with the literal segment comes first. */
export function compareTemplates(a: PathTemplate, b: PathTemplate): number {
  const ranks = (template: PathTemplate): string =>
    segmentsOf(template.text)
      .map(({ name, many }) => (name === undefined ? '0' : many ? '2' : '1'))
      .join('');
  const [left, right] = [ranks(a), ranks(b)];
  return left < right ? -1 : left > right ? 1 : 0;
}
