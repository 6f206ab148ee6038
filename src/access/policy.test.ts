import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  decide,
  grantScope,
  type Decision,
  type RepositoryAction,
  type RepositoryFacts,
  type Subject,
} from './policy.ts';
import type { Scope } from './scopes.ts';

const name = 'acme/app';
const actions: readonly RepositoryAction[] = ['pull', 'push', 'delete'];

const anonymous: Subject = { credentialId: 0, user: null };
const someone = (id: number, admin = false): Subject => ({ credentialId: 10 + id, user: { id, admin } });

const facts = fc.record<RepositoryFacts>({
  visibility: fc.constantFrom('private', 'public', null),
  ownerId: fc.constantFrom(1, 2, null),
});
const subject = fc.oneof(
  fc.constant(anonymous),
  fc.record({ id: fc.constantFrom(1, 2), admin: fc.boolean() }).map(({ id, admin }) => someone(id, admin)),
);
const action = fc.constantFrom(...actions);
const scope = fc.record<Scope>({
  type: fc.constantFrom('repository', 'registry', 'other'),
  name: fc.constantFrom(name, 'acme/other', 'catalog'),
  actions: fc.subarray(['pull', 'push', 'delete', '*', 'fly']),
});
const scopes = fc.option(fc.array(scope, { maxLength: 4 }), { nil: null });

const isAllowed = (decision: Decision): boolean => decision.outcome === 'allowed';

describe('more rights never allow less', () => {
  test('an account may do what nobody in particular may', () => {
    fc.assert(
      fc.property(subject, action, facts, (who, what, about) => {
        fc.pre(isAllowed(decide(anonymous, null, name, what, about)));
        expect(isAllowed(decide(who, null, name, what, about))).toBe(true);
      }),
    );
  });

  test('an administrator may do what any account may', () => {
    fc.assert(
      fc.property(subject, action, facts, (who, what, about) => {
        fc.pre(isAllowed(decide(who, null, name, what, about)));
        expect(isAllowed(decide(someone(1, true), null, name, what, about))).toBe(true);
      }),
    );
  });

  test('whoever may read what is private may read it when it is public', () => {
    fc.assert(
      fc.property(subject, action, facts, (who, what, about) => {
        fc.pre(isAllowed(decide(who, null, name, what, { ...about, visibility: 'private' })));
        expect(isAllowed(decide(who, null, name, what, { ...about, visibility: 'public' }))).toBe(true);
      }),
    );
  });

  test('whoever may push or delete may pull', () => {
    fc.assert(
      fc.property(subject, action, facts, (who, what, about) => {
        fc.pre(isAllowed(decide(who, null, name, what, about)));
        expect(isAllowed(decide(who, null, name, 'pull', about))).toBe(true);
      }),
    );
  });
});

describe('a narrower token never allows more', () => {
  test('a token allows nothing that its account may not do', () => {
    fc.assert(
      fc.property(subject, scopes, action, facts, (who, made, what, about) => {
        fc.pre(isAllowed(decide(who, made, name, what, about)));
        expect(isAllowed(decide(who, null, name, what, about))).toBe(true);
      }),
    );
  });

  test('a token with a scope less allows nothing more', () => {
    fc.assert(
      fc.property(subject, fc.array(scope, { maxLength: 4 }), fc.nat(), action, facts, (who, made, at, what, about) => {
        const fewer = made.filter((_, i) => i !== at % Math.max(1, made.length));
        fc.pre(isAllowed(decide(who, fewer, name, what, about)));
        expect(isAllowed(decide(who, made, name, what, about))).toBe(true);
      }),
    );
  });

  test('only a scope of this repository and this action counts', () => {
    fc.assert(
      fc.property(subject, fc.array(scope), action, facts, (who, made, what, about) => {
        const covering = made.filter(
          (each) =>
            each.type === 'repository' &&
            each.name === name &&
            (each.actions.includes(what) || each.actions.includes('*')),
        );
        fc.pre(covering.length === 0);
        expect(isAllowed(decide(who, made, name, what, about))).toBe(false);
      }),
    );
  });

  test('what is granted is exactly what was asked for and may be done', () => {
    fc.assert(
      fc.property(subject, scope, facts, (who, asked, about) => {
        fc.pre(asked.type === 'repository');
        const granted = grantScope(who, { ...asked, name }, about);
        for (const what of actions) {
          const wanted = asked.actions.includes(what) || asked.actions.includes('*');
          const may = isAllowed(decide(who, null, name, what, about));
          expect(granted?.actions.includes(what) ?? false).toBe(wanted && may);
          if (granted !== null) expect(isAllowed(decide(who, [granted], name, what, about))).toBe(wanted && may);
        }
      }),
    );
  });
});

describe('what is refused gives nothing away', () => {
  test('a private repository of others and none at all are decided alike', () => {
    fc.assert(
      fc.property(subject, scopes, action, facts, (who, made, what, about) => {
        fc.pre(!isAllowed(decide(who, null, name, 'pull', { ...about, visibility: 'private' })));
        expect(decide(who, made, name, what, { ...about, visibility: 'private' })).toEqual(
          decide(who, made, name, what, { ...about, visibility: null }),
        );
      }),
    );
  });

  test('only who may read a repository is given a reason', () => {
    fc.assert(
      fc.property(subject, scopes, action, facts, (who, made, what, about) => {
        fc.pre(decide(who, made, name, what, about).outcome === 'denied');
        expect(isAllowed(decide(who, null, name, 'pull', about))).toBe(true);
      }),
    );
  });

  test('a dead credential may do nothing, not even what everybody may', () => {
    fc.assert(
      fc.property(scopes, action, facts, (made, what, about) => {
        expect(decide(null, made, name, what, about)).toEqual({ outcome: 'unauthenticated' });
      }),
    );
  });
});
