/** `/api/v1/access/explain`: why somebody may or may not do something. */
import { z } from 'zod';
import { explain } from '../../access/explain.ts';
import { repositoryUnknown } from '../../access/enforce.ts';
import type { Lookup } from '../../access/lookup.ts';
import { decide, repositoryActions } from '../../access/policy.ts';
import { roleNames } from '../../access/roles.ts';
import { findAccount, findTokenOf } from '../../access/sql/explain.ts';
import { ApiError } from '../../oci/problem.ts';
import type { RepositoryName } from '../../oci/reference.ts';
import type { ApiCaller } from './caller.ts';
import { defineOperation, type Operation } from './operation.ts';
import { repositoryNameField } from './schemas.ts';

const answer = z
  .strictObject({
    user: z.string(),
    repository: z.string(),
    action: z.enum(repositoryActions),
    allowed: z.boolean(),
    reasons: z
      .array(z.strictObject({ rule: z.string(), text: z.string() }))
      .meta({ description: 'In the order in which they were looked at; the last one decided.' }),
    roles: z
      .array(z.strictObject({ source: z.string(), role: z.enum(roleNames) }))
      .meta({ description: "Where the account's roles come from, the strongest first." }),
    changes: z.array(z.string()).meta({ description: 'What would allow it, each by itself.' }),
  })
  .meta({ id: 'AccessExplanation' });

export function explainOperations({ lookup }: { lookup: Lookup }): readonly Operation[] {
  /** Owners may ask about everybody; who may not see the repository does not learn that it is there. */
  async function authorizeForOthers({ caller }: ApiCaller, name: RepositoryName): Promise<void> {
    const { subject, facts, repositoryId, namespaceId } = await lookup(caller, name);
    const decision = decide(subject, caller.scopes, name, 'members', facts);
    if (decision.outcome === 'invisible' || (repositoryId === null && namespaceId === null))
      throw repositoryUnknown(name, subject);
    if (decision.outcome !== 'allowed')
      throw new ApiError(
        'forbidden',
        `only owners of ${name} may ask about others; leave out user to ask about yourself`,
      );
  }

  return [
    defineOperation({
      id: 'explainAccess',
      method: 'get',
      path: '/access/explain',
      summary: 'Explain why an account may or may not do something',
      description:
        "For oneself, and for others by the repository's owners and administrators. With `token` (the id of a personal token " +
        'of that account) it takes the limits and the state of the token into account.',
      tags: ['access'],
      access: 'signed-in',
      apiScope: 'account:read',
      effect: 'reads',
      query: z.strictObject({
        user: z.string().min(1).max(64).optional().meta({ description: 'Left out: oneself.' }),
        repository: repositoryNameField,
        action: z.enum(repositoryActions),
        token: z
          .string()
          .regex(/^[1-9]\d{0,15}$/)
          .transform(Number)
          .optional()
          .meta({ description: 'The id of a personal token.' }),
      }),
      answers: { 200: answer },
      async handler({ caller, query: { user, repository: name, action, token: tokenId }, queryer }) {
        const self = caller.subject.user;
        const username = user ?? self?.name;
        if (username === undefined)
          throw new ApiError('invalid', 'a robot is no account; say whose access is asked about with user');
        const own = username === self?.name;
        if (!own) await authorizeForOthers(caller, name);
        const account = await findAccount(queryer, username);
        const tellsState = own || self?.admin === true;
        const token =
          tokenId === undefined || account === undefined || !tellsState
            ? undefined
            : await findTokenOf(queryer, account.id, tokenId);
        if (tokenId !== undefined && token === undefined)
          throw new ApiError('notFound', `there is no token ${tokenId}, or you may not see it`);
        const explanation = await explain(queryer, {
          username,
          account,
          token,
          name,
          action,
          tellsState,
          tellsPlace: !own,
        });
        return { status: 200, body: { user: username, repository: name, action, ...mutable(explanation) } };
      },
    }),
  ];
}

/** The schema's types know no read-only arrays. */
function mutable({ allowed, reasons, roles, changes }: Awaited<ReturnType<typeof explain>>) {
  return { allowed, reasons: [...reasons], roles: [...roles], changes: [...changes] };
}
