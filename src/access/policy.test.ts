import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { grantActions, grantsWithin, type Grant } from './grants.ts';
import {
  decide,
  grantScope,
  repositoryActions,
  visibilities,
  type Decision,
  type RepositoryFacts,
  type Subject,
} from './policy.ts';
import type { Role } from './roles.ts';
import type { Scope } from './scopes.ts';

const name = 'acme/app';
const dockerActions = ['pull', 'push', 'delete'] as const;

const anonymous: Subject = {
  credentialId: 0,
  kind: 'anonymous',
  credentialName: null,
  user: null,
  robot: null,
  grants: null,
};
const someone = (admin: boolean): Subject => ({
  ...anonymous,
  credentialId: 10,
  kind: 'password',
  user: { id: 1, name: 'ada', admin },
});
const robot: Subject = {
  ...anonymous,
  kind: 'robot',
  credentialName: 'acme+ci',
  robot: { namespaceId: 1, repositoryId: null },
};

const role = fc.constantFrom<Role | null>(null, 1, 2, 3, 4);
const facts: fc.Arbitrary<RepositoryFacts> = fc
  .record(
    { visibility: fc.constantFrom(null, ...visibilities), namespace: fc.boolean(), role },
    { noNullPrototype: true },
  )
  // Nobody has a role in a namespace that is not there, and no repository is outside of one.
  .map((each) => ({ ...each, namespace: each.namespace || each.role !== null || each.visibility !== null }));
const account = fc.oneof(fc.constant(anonymous), fc.boolean().map(someone), fc.constant(robot));
const grant: fc.Arbitrary<Grant> = fc.record(
  {
    repositories: fc.constantFrom(name, 'acme/*', '*', 'acme/other', 'a*p'),
    actions: fc.subarray([...grantActions], { minLength: 1 }),
  },
  { noNullPrototype: true },
);
const grants = fc.array(grant, { maxLength: 4 });
const subject = fc
  .tuple(account, fc.option(grants, { nil: null }))
  .map(([who, limits]) => (who.kind === 'anonymous' ? who : { ...who, grants: limits }));
const action = fc.constantFrom(...repositoryActions);
const scope = fc.record<Scope>({
  type: fc.constantFrom('repository', 'registry', 'other'),
  name: fc.constantFrom(name, 'acme/other', 'catalog'),
  actions: fc.subarray(['pull', 'push', 'delete', 'settings', '*', 'fly']),
});
const scopes = fc.option(fc.array(scope, { maxLength: 4 }), { nil: null });

const isAllowed = (decision: Decision): boolean => decision.outcome === 'allowed';

describe('more rights never allow less', () => {
  test('a stronger role may do what a weaker one may', () => {
    fc.assert(
      fc.property(subject, scopes, action, facts, (who, made, what, about) => {
        fc.pre(isAllowed(decide(who, made, name, what, about)));
        const stronger = { ...about, namespace: true, role: Math.min(4, (about.role ?? 0) + 1) as Role };
        expect(isAllowed(decide(who, made, name, what, stronger))).toBe(true);
      }),
    );
  });

  test('an account may do what nobody in particular may', () => {
    fc.assert(
      fc.property(subject, action, facts, (who, what, about) => {
        fc.pre(isAllowed(decide(anonymous, null, name, what, { ...about, role: null })));
        expect(isAllowed(decide(who, null, name, what, about))).toBe(true);
      }),
    );
  });

  test('an administrator may do what any account may', () => {
    fc.assert(
      fc.property(subject, action, facts, (who, what, about) => {
        fc.pre(isAllowed(decide(who, null, name, what, about)));
        expect(isAllowed(decide({ ...someone(true), grants: who.grants }, null, name, what, about))).toBe(true);
      }),
    );
  });

  test('whoever may do something with what is private may do it when more people may see it, step by step', () => {
    fc.assert(
      fc.property(subject, scopes, action, facts, (who, made, what, about) => {
        const mayWhen = visibilities.map((visibility) =>
          isAllowed(decide(who, made, name, what, { ...about, visibility })),
        );
        expect(mayWhen).toEqual(mayWhen.toSorted((a, b) => Number(a) - Number(b)));
      }),
    );
  });

  test('whoever may do something without a limit may pull', () => {
    fc.assert(
      fc.property(account, action, facts, (who, what, about) => {
        fc.pre(isAllowed(decide(who, null, name, what, about)));
        expect(isAllowed(decide(who, null, name, 'pull', about))).toBe(true);
      }),
    );
  });
});

describe('a narrower token never allows more', () => {
  test('grants allow nothing that the account may not do', () => {
    fc.assert(
      fc.property(account, grants, scopes, action, facts, (who, limits, made, what, about) => {
        fc.pre(isAllowed(decide({ ...who, grants: limits }, made, name, what, about)));
        expect(isAllowed(decide(who, made, name, what, about))).toBe(true);
      }),
    );
  });

  test('a grant less allows nothing more', () => {
    fc.assert(
      fc.property(account, grants, fc.nat(), scopes, action, facts, (who, limits, at, made, what, about) => {
        const fewer = limits.filter((_, i) => i !== at % Math.max(1, limits.length));
        fc.pre(isAllowed(decide({ ...who, grants: fewer }, made, name, what, about)));
        expect(isAllowed(decide({ ...who, grants: limits }, made, name, what, about))).toBe(true);
      }),
    );
  });

  test('grants that lie within others allow nothing more than those', () => {
    fc.assert(
      fc.property(account, grants, grants, action, facts, (who, inner, outer, what, about) => {
        fc.pre(grantsWithin(inner, outer) && isAllowed(decide({ ...who, grants: inner }, null, name, what, about)));
        expect(isAllowed(decide({ ...who, grants: outer }, null, name, what, about))).toBe(true);
      }),
    );
  });

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
        for (const what of dockerActions) {
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
        const hidden = { ...about, visibility: 'private' } as const;
        expect(decide(who, made, name, what, hidden).outcome).toBe(
          decide(who, made, name, what, { ...hidden, visibility: null }).outcome,
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
        expect(decide(null, made, name, what, about)).toEqual({
          outcome: 'unauthenticated',
          reasons: [{ rule: 'dead-credential' }],
        });
      }),
    );
  });
});
