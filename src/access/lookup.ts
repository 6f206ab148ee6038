/** Asks who a caller is and what a repository is to it, many at once, in one hot statement. */
import { createBatch, type Ask } from '../database/batch.ts';
import type { Database } from '../database/pool.ts';
import { namespaceOf, type RepositoryName } from '../oci/reference.ts';
import type { Caller } from './caller.ts';
import type { RepositoryFacts, Subject } from './policy.ts';
import {
  factsOf,
  pullingSubjectJoins,
  subjectColumns,
  subjectJoins,
  subjectOf,
  type SubjectRow,
} from './sql/subject.ts';

/** The live state of a caller and of one repository, read in one statement. */
export interface Standing {
  readonly subject: Subject | null;
  readonly facts: RepositoryFacts;
  /** Null when there is no such repository. */
  readonly repositoryId: number | null;
  /** The repository's namespace, or that of the name; null when there is none. */
  readonly namespaceId: number | null;
}

/**
 * @param name null for questions that are only about the caller
 * @param following whether a former name of a repository finds it: for pulls only
 */
export type Lookup = (caller: Caller, name: RepositoryName | null, following?: 'aliases') => Promise<Standing>;

const statementOver = (joins: string): string => `
  SELECT ${subjectColumns}
  FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[]) WITH ORDINALITY AS question (name, namespace, credential_id, kid, i)
  ${joins}
  ORDER BY question.i`;

interface Question {
  readonly caller: Caller;
  readonly name: RepositoryName | null;
}

/** Statements under way at once, and questions in each. Two lanes keep one busy while the other's answer is read. */
export const hotBatch = { lanes: 2, sizeMax: 256 } as const;

/** Equal for questions whose subject and repository are the same; what a statement asks besides is put behind it. */
export function subjectKey({ caller, name }: Question): string {
  return `${caller.credentialId} ${caller.kid ?? ''} ${name ?? ''}`;
}

/** The four parameters that `subjectJoins` needs, as arrays over the questions of a batch. */
function subjectParameters(questions: readonly Question[]): unknown[] {
  return [
    questions.map(({ name }) => name),
    questions.map(({ name }) => (name === null ? null : namespaceOf(name))),
    questions.map(({ caller }) => caller.credentialId),
    questions.map(({ caller }) => caller.kid),
  ];
}

/** A hot statement's answer to one question. */
export interface Found<Row> {
  readonly standing: Standing;
  readonly row: Row;
}

/**
 * Asks a statement that takes, beside the subject's parameters, what is wanted of each repository: a list parted by spaces.
 * A caller who wants many things of one repository at the same moment, as a build does, is looked up once.
 * @param find gives the rows in the order of the lists; the first of each list has the subject's columns
 */
export async function findInGroups<Asked extends Question, Row extends SubjectRow>(
  questions: readonly Asked[],
  textOf: (question: Asked) => string,
  find: (parameters: unknown[]) => Promise<Row[]>,
): Promise<Found<Row>[]> {
  const groups = new Map<string, { readonly question: Asked; asked: string; readonly positions: number[] }>();
  for (const [position, question] of questions.entries()) {
    const key = subjectKey(question);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { question, asked: textOf(question), positions: [position] });
    else {
      group.asked += ` ${textOf(question)}`;
      group.positions.push(position);
    }
  }
  const all = [...groups.values()];
  const rows = await find([...subjectParameters(all.map(({ question }) => question)), all.map(({ asked }) => asked)]);
  const found: Found<Row>[] = [];
  let at = 0;
  for (const { positions } of all) {
    const standing = standingOf(rows[at]!);
    for (const position of positions) {
      found[position] = { standing, row: rows[at]! };
      at += 1;
    }
  }
  return found;
}

function standingOf(row: SubjectRow): Standing {
  return {
    subject: subjectOf(row),
    facts: factsOf(row),
    repositoryId: row.repository_id,
    namespaceId: row.namespace_id,
  };
}

export function createLookup(database: Database): Lookup {
  const askWith = (statement: string): Ask<Question, Standing> =>
    createBatch(
      async (questions) => {
        const rows = await database.hot.query<SubjectRow>(statement, subjectParameters(questions));
        return rows.map(standingOf);
      },
      subjectKey,
      hotBatch,
    );
  const exact = askWith(statementOver(subjectJoins));
  const pulling = askWith(statementOver(pullingSubjectJoins));
  return (caller, name, following) => (following === 'aliases' ? pulling : exact)({ caller, name });
}
