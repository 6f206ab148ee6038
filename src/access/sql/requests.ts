/** What anonymous people ask for, noted for the background runner: the same statement for everybody. */
import type { Queryer } from '../../database/pool.ts';
import type { Actor } from '../../events/actor.ts';

/** Names of tasks; see jobs/answer-requests.ts. */
export type RequestTask = 'answer_registration' | 'answer_password_reset';

/** A try that fails is made again within minutes; whoever waits for a mail longer than that asks again. */
const triesMax = 5;

/** @param asked an address, or what may be a user name or an address */
export async function queueRequest(queryer: Queryer, task: RequestTask, asked: string, actor: Actor): Promise<void> {
  await queryer.query(`SELECT graphile_worker.add_job($1, payload => $2::json, max_attempts => $3)`, [
    task,
    JSON.stringify({ asked, actor }),
    triesMax,
  ]);
}
