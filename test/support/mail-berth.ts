/** A Berth that sends mails, and what it sent. */
import { vi } from 'vitest';
import { secretPattern } from '../../src/access/secrets.ts';
import { startTestBerth, type TestBerth } from './berth.ts';
import { startMailServer, type ReceivedMail } from './smtp.ts';

export interface MailBerth extends TestBerth {
  /** Waits for the next mails to this address that nobody has waited for. */
  mailsTo(address: string, count?: number): Promise<readonly ReceivedMail[]>;
  /** The token in the link of the next mail to this address. */
  linkTo(address: string): Promise<string>;
  /** Waits until nothing is queued any more: whatever was to be mailed has been. */
  settled(): Promise<void>;
}

const eventually = { timeout: 20_000, interval: 20 };

/** `http`, so that the session cookie of tests is that of plain http. */
export const mailPublicUrl = 'http://hub.example';

export async function startMailBerth(settings: Record<string, string> = {}): Promise<MailBerth> {
  const server = await startMailServer();
  const berth = await startTestBerth({
    BERTH_SMTP_URL: server.url,
    BERTH_MAIL_FROM: 'berth@hub.example',
    BERTH_PUBLIC_URL: mailPublicUrl,
    ...settings,
  });
  const seen = new Map<string, number>();
  async function mailsTo(address: string, count = 1): Promise<readonly ReceivedMail[]> {
    const before = seen.get(address) ?? 0;
    const mails = await vi.waitFor(() => {
      const all = server.mails.filter(({ recipients }) => recipients.includes(address));
      if (all.length < before + count) throw new Error(`${all.length} mails to ${address} so far`);
      return all;
    }, eventually);
    seen.set(address, before + count);
    return mails.slice(before, before + count);
  }
  return {
    ...berth,
    mailsTo,
    async linkTo(address) {
      const [mail] = await mailsTo(address);
      return secretPattern.exec(mail!.text)![0];
    },
    async settled() {
      await vi.waitFor(async () => {
        const [row] = await berth.database.query<{ count: number }>(
          `SELECT count(*) AS count FROM graphile_worker.jobs WHERE task_identifier LIKE 'answer\\_%' OR task_identifier = 'send_mail'`,
        );
        if (row!.count > 0) throw new Error(`${row!.count} jobs are queued`);
      }, eventually);
    },
    async stop() {
      await berth.stop();
      await server.close();
    },
  };
}
