/** Which repositories somebody may pull, as a condition on `r`: the same rules as `policy.ts`, where rows are many. */
import { likePatterns } from '../grants.ts';
import type { Subject } from '../policy.ts';

/** What a credential's grants let it pull, as patterns for LIKE; null when it has no such limit. */
export function coveredNames(subject: Subject): string[] | null {
  return subject.grants === null ? null : likePatterns(subject.grants, 'pull');
}

/** Whether the name of `r` is among them. @param parameter the patterns' place in the statement: `$3` */
export function coveredBy(parameter: string): string {
  return `(${parameter}::text[] IS NULL OR r.name LIKE ANY (${parameter}::text[]))`;
}

/** Who reads, as the parameters of `readableCondition` say it. */
export function readerParameters(subject: Subject): unknown[] {
  return [
    subject.user?.admin === true,
    subject.kind !== 'anonymous',
    subject.user?.id ?? null,
    subject.robot?.namespaceId ?? null,
    subject.robot?.repositoryId ?? null,
    coveredNames(subject),
  ];
}

/** How many parameters that are. */
const readerParameterCount = 6;

/** @param first the number of the first of the reader's parameters in the statement */
export function readerNames(first: number) {
  const [admin, signedIn, userId, robotNamespaceId, robotRepositoryId, patterns] = Array.from(
    { length: readerParameterCount },
    (_, i) => `$${first + i}`,
  );
  return {
    admin: `${admin}::boolean`,
    signedIn: `${signedIn}::boolean`,
    userId: `${userId}::bigint`,
    robotNamespaceId: `${robotNamespaceId}::bigint`,
    robotRepositoryId: `${robotRepositoryId}::bigint`,
    covered: coveredBy(patterns!),
  };
}

/** Whether the reader may pull `r`. @param first the number of the first of the reader's parameters */
export function readableCondition(first: number): string {
  const reader = readerNames(first);
  return `(r.visibility = 'public' OR (${reader.covered} AND (
    ${reader.admin}
    OR (r.visibility = 'internal' AND ${reader.signedIn})
    OR EXISTS (SELECT 1 FROM granted_roles g
      WHERE g.user_id = ${reader.userId} AND g.namespace_id = r.namespace_id AND g.repository_id IN (0, r.id))
    OR (r.namespace_id = ${reader.robotNamespaceId} AND (${reader.robotRepositoryId} IS NULL OR r.id = ${reader.robotRepositoryId}))
  )))`;
}
