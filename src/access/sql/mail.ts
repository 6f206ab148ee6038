/** Mails on their way: jobs of the background runner's queue, whose schema every start brings up to date first. */
import { randomUUID } from 'node:crypto';
import type { Queryer } from '../../database/pool.ts';
import type { Mail } from '../mail.ts';

/** With the queue's own pauses between tries, e^1 to e^9 seconds, the last one comes after three and a half hours. */
const triesMax = 10;

/**
 * Has a mail sent once the caller's transaction is committed, by whichever process comes first; not at all when it is rolled
 * back. Links in it wait in the database as clear text until the mail is sent or given up. Callable whether or not this
 * process has a mail server; where none has one, the mail waits.
 */
export async function queueMail(queryer: Queryer, mail: Mail): Promise<void> {
  // The id makes a mail that was sent twice, because a process died in between, the same mail to its reader.
  const payload = JSON.stringify({ id: randomUUID(), ...mail });
  await queryer.query(`SELECT graphile_worker.add_job('send_mail', payload => $1::json, max_attempts => $2)`, [
    payload,
    triesMax,
  ]);
}
