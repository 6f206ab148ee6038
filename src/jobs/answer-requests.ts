/** What anonymous people asked for, answered by mail behind the answer of the API. */
import { z } from 'zod';
import { answerPasswordReset, answerRegistration, type RegistrationMode } from '../access/registration.ts';
import type { Site } from '../access/links.ts';
import type { RequestTask } from '../access/sql/requests.ts';
import { parseEmailAddress } from '../config/email-address.ts';
import type { Database } from '../database/pool.ts';
import type { Task } from './tasks.ts';

const text = z.string().nullable();
const payloadSchema = z.object({
  asked: z.string().max(254),
  actor: z.object({
    credentialId: z.number().nullable(),
    userId: z.number().nullable(),
    name: z.string(),
    address: text,
    client: text,
    requestId: text,
  }),
});

export interface AnswerParts {
  readonly database: Database;
  readonly mode: RegistrationMode;
  readonly site: Site;
}

export function createAnswerTasks({ database, mode, site }: AnswerParts): readonly Task[] {
  const task = (name: RequestTask, run: Task['run']): Task => ({ name, run });
  return [
    task('answer_registration', async (_signal, { payload }) => {
      const { asked, actor } = payloadSchema.parse(payload);
      const email = parseEmailAddress(asked);
      if (email !== undefined)
        await database.transaction((queryer) => answerRegistration(queryer, email, { mode, site, actor }));
    }),
    task('answer_password_reset', async (_signal, { payload }) => {
      const { asked, actor } = payloadSchema.parse(payload);
      await database.transaction((queryer) => answerPasswordReset(queryer, asked, { site, actor }));
    }),
  ];
}
