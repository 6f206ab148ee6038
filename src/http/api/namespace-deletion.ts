/** Organizations deleted with everything that is in them. */
import { z } from 'zod';
import { grantsWithin } from '../../access/grants.ts';
import { namespaceRights, seeNamespace, type Namespace } from '../../access/namespaces.ts';
import type { Subject } from '../../access/policy.ts';
import { ApiError } from '../../oci/problem.ts';
import {
  deleteNamespace,
  planNamespaceDeletion,
  type NamespaceDeletionPlan,
} from '../../registry/delete-repositories.ts';
import { defineOperation, type Operation } from './operation.ts';
import { deletionPlanShape, refuseUnseen } from './repository-changes.ts';
import { dryRunQuery } from './schemas.ts';

const planSchema = z
  .strictObject({
    ...deletionPlanShape,
    members: z.number(),
    teams: z.number(),
    robots: z.number(),
    dryRun: z.boolean(),
  })
  .meta({ id: 'NamespaceDeletion', description: 'What a deletion takes away, or has taken away.' });

export function namespaceDeletionOperations(parts: { reviewDelayHours: number }): readonly Operation[] {
  return [
    defineOperation({
      id: 'deleteNamespace',
      method: 'delete',
      path: '/namespaces/{name}',
      summary: 'Delete an organization with all its repositories',
      description:
        'With dry_run=1 it says what would go. The entity tag of that answer, as If-Match, deletes exactly that. The namespace ' +
        'of a person goes with nothing less than the person.',
      tags: ['namespaces'],
      access: 'signed-in',
      apiScope: 'organizations:write',
      effect: 'changes',
      edits: 'ifMatchAllowed',
      patient: true,
      params: z.strictObject({ name: z.string() }),
      query: dryRunQuery,
      answers: { 200: planSchema },
      async handler({ caller, params: { name }, query, queryer, actor, request, checkIfMatch }) {
        const namespace = await seeNamespace(queryer, caller.subject, name);
        refuseOthers(caller.subject, namespace);
        if (query.dry_run) {
          const plan = await planNamespaceDeletion(queryer, namespace.id);
          checkIfMatch(plan);
          return { status: 200, body: planBody(plan, true), version: plan };
        }
        refuseUnseen(request.conditional, name);
        const check = async (plan: NamespaceDeletionPlan): Promise<void> => {
          // Looked at again behind the lock: an owner may have been made less while this waited for it.
          refuseOthers(caller.subject, await seeNamespace(queryer, caller.subject, name));
          checkIfMatch(plan);
        };
        const plan = await deleteNamespace(queryer, namespace, check, { actor, ...parts });
        return { status: 200, body: planBody(plan, false), version: plan };
      },
    }),
  ];
}

/** @throws ApiError `forbidden` for everybody but its owners in person, `unprocessable` for what is no organization */
function refuseOthers(subject: Subject, namespace: Namespace): void {
  const { name, kind } = namespace;
  if (kind !== 'organization')
    throw new ApiError('unprocessable', `${name} is no organization, and cannot be deleted by itself`, {
      next: 'Delete its repositories, or ask an administrator to disable the account.',
    });
  if (subject.user === null || !namespaceRights(subject, namespace).delete)
    throw new ApiError('forbidden', `only owners of ${name} may delete it`);
  // A token that was made for some repositories must not take away all.
  const everything = [{ repositories: `${name}/*`, actions: ['delete' as const, 'admin' as const] }];
  if (subject.grants !== null && !grantsWithin(everything, subject.grants))
    throw new ApiError('forbidden', `the token ${subject.credentialName} was not made to delete all of ${name}/*`);
}

const planBody = (plan: NamespaceDeletionPlan, dryRun: boolean): z.input<typeof planSchema> => ({
  ...plan,
  repositories: [...plan.repositories],
  dryRun,
});
