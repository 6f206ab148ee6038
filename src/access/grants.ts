/**
 * What a personal access token or a robot was made for: repository patterns, and what may be done with what they match.
 * Grants only ever narrow: what the account behind may not do, no grant allows.
 */
import { z } from 'zod';
import type { RepositoryAction } from './policy.ts';

export const grantActions = ['pull', 'push', 'delete', 'admin'] as const;
export type GrantAction = (typeof grantActions)[number];

/** More grants in one credential, or a longer pattern, are refused. */
export const grantsMax = 100;
const patternLengthMax = 255;

/** A repository name in which `*` stands for any run of characters, slashes too: `acme/api`, `acme/*`, `*`. */
const patternSchema = z
  .string()
  .min(1)
  .max(patternLengthMax)
  .regex(/^[a-z0-9._/*-]+$/, 'a pattern is a repository name in which * stands for any characters');

export const grantSchema = z.strictObject({
  repositories: patternSchema,
  actions: z.array(z.enum(grantActions)).min(1).max(grantActions.length),
});

export type Grant = z.infer<typeof grantSchema>;

/** `admin` is all that manages a repository; the others are themselves. */
const grantActionOf: Record<RepositoryAction, GrantAction> = {
  pull: 'pull',
  push: 'push',
  delete: 'delete',
  settings: 'admin',
  members: 'admin',
};

/** Whether these grants cover one action on one repository. */
export function grantsCover(grants: readonly Grant[], name: string, action: RepositoryAction): boolean {
  const wanted = grantActionOf[action];
  return grants.some((grant) => grant.actions.includes(wanted) && matchesPattern(grant.repositories, name));
}

/** Linear in both lengths but for the worst of patterns; never exponential, whatever is in them. */
export function matchesPattern(pattern: string, name: string): boolean {
  let p = 0;
  let n = 0;
  let star = -1;
  let mark = 0;
  while (n < name.length) {
    if (pattern[p] === '*') {
      star = p;
      mark = n;
      p += 1;
    } else if (pattern[p] === name[n]) {
      p += 1;
      n += 1;
    } else if (star >= 0) {
      // The last star takes one character more.
      mark += 1;
      p = star + 1;
      n = mark;
    } else {
      return false;
    }
  }
  while (pattern[p] === '*') p += 1;
  return p === pattern.length;
}

/** The same patterns for SQL's LIKE, of those grants that cover the action. */
export function likePatterns(grants: readonly Grant[], action: RepositoryAction): string[] {
  const wanted = grantActionOf[action];
  return grants
    .filter((grant) => grant.actions.includes(wanted))
    .map((grant) => grant.repositories.replace(/[\\%_]/g, '\\$&').replaceAll('*', '%'));
}

/**
 * Whether every right of one set lies within another: a token may be made only by who has at least as much. Sound, not
 * complete: a pattern lies within another when the other matches it as a text.
 */
export function grantsWithin(inner: readonly Grant[], outer: readonly Grant[]): boolean {
  return inner.every((grant) =>
    grant.actions.every((action) =>
      outer.some((other) => other.actions.includes(action) && matchesPattern(other.repositories, grant.repositories)),
    ),
  );
}
