import { describe, expect, test } from 'vitest';
import { checkWithin, expiryOf, tidyGrants } from './named-credentials.ts';
import { checkPatterns } from './robots.ts';

const now = new Date('2026-03-01T12:00:00Z');
const inDays = (days: number): Date => new Date(now.getTime() + days * 24 * 3600 * 1000);

describe('how long a new token lives', () => {
  test.each([
    ['90 days by default', undefined, 365, inDays(90)],
    ['the maximum, where that is less', undefined, 30, inDays(30)],
    ['90 days by default where there is no maximum', undefined, 0, inDays(90)],
    ['as asked', inDays(1), 365, inDays(1)],
    ['up to the maximum', inDays(365), 365, inDays(365)],
    ['for ever, where there is no maximum', null, 0, null],
    ['as long as asked, where there is no maximum', inDays(10_000), 0, inDays(10_000)],
    [
      'by a clock that is a minute ahead',
      new Date(inDays(365).getTime() + 60_000),
      365,
      new Date(inDays(365).getTime() + 60_000),
    ],
  ])('%s', (_what, asked, expiryDaysMax, expected) => {
    expect(expiryOf(asked, { expiryDaysMax }, now)).toEqual(expected);
  });

  test.each([
    ['not for ever, where there is a maximum', null, 365],
    ['not beyond the maximum', inDays(365.1), 365],
    ['not until now', now, 365],
    ['not until yesterday', inDays(-1), 0],
  ])('%s', (_what, asked, expiryDaysMax) => {
    expect(() => expiryOf(asked, { expiryDaysMax }, now)).toThrow(expect.objectContaining({ kind: 'unprocessable' }));
  });
});

test('equal grants look alike', () => {
  expect(tidyGrants([{ repositories: 'a/*', actions: ['push', 'pull', 'push'] }])).toEqual([
    { repositories: 'a/*', actions: ['pull', 'push'] },
  ]);
});

describe('what a credential may give away', () => {
  const pull = [{ repositories: 'acme/*', actions: ['pull' as const] }];
  const api = [{ repositories: 'acme/api', actions: ['pull' as const] }];
  test.each([
    ['all of it', pull, [], pull, []],
    ['less', pull, ['audit:read'], api, []],
    ['anything, without limits of its own', null, null, pull, ['audit:read' as const]],
  ])('%s', (_what, grants, apiScopes, given, scopes) => {
    expect(() => checkWithin({ grants, apiScopes }, given, scopes)).not.toThrow();
  });
  test.each([
    ['another repository', api, [], pull, []],
    ['another action', pull, [], [{ repositories: 'acme/api', actions: ['push' as const] }], []],
    ['another scope', null, ['audit:read'], [], ['organizations:write' as const]],
  ])('not %s', (_what, grants, apiScopes, given, scopes) => {
    expect(() => checkWithin({ grants, apiScopes }, given, scopes)).toThrow(
      expect.objectContaining({ kind: 'forbidden' }),
    );
  });
});

describe('how far the pattern of a robot goes', () => {
  const checking = (namespace: string, repositories: string) => () =>
    checkPatterns(namespace, [{ repositories, actions: ['pull'] }]);
  test.each([
    ['acme', 'acme/*'],
    ['acme', 'acme/api'],
    ['acme', 'acme/a*/b'],
    ['_', 'ubuntu'],
    ['_', 'u*'],
  ])('%s: %s', (namespace, pattern) => expect(checking(namespace, pattern)).not.toThrow());
  test.each([
    ['acme', '*'],
    ['acme', 'acme*'],
    ['acme', 'acme'],
    ['acme', '*/api'],
    ['acme', 'other/*'],
    ['_', 'acme/api'],
    ['_', '*/*'],
  ])('%s: not %s', (namespace, pattern) => expect(checking(namespace, pattern)).toThrow(/must/));
});
