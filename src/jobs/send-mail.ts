/** Mails that were queued in SQL (access/sql/mail.ts), brought to the mail server. */
import type { Transporter } from 'nodemailer';
import { z } from 'zod';
import { parseEmailAddress, type EmailAddress } from '../config/email-address.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Task } from './tasks.ts';

export interface MailSettings {
  readonly smtpUrl: string;
  readonly from: EmailAddress;
}

const subjectLengthMax = 1000;
const textLengthMax = 100_000;
/** The connection, greeting and encryption included. */
const connectMs = 10_000;
/** Between two answers of the server. */
const silenceMs = 20_000;

const mailSchema = z.object({
  id: z.uuid(),
  to: z.string().transform((text, context) => {
    const address = parseEmailAddress(text);
    if (address !== undefined) return address;
    context.addIssue({ code: 'custom', message: 'expected a mail address' });
    return z.NEVER;
  }),
  subject: z
    .string()
    .max(subjectLengthMax)
    .regex(/^\P{Cc}*$/u),
  text: z.string().max(textLengthMax),
});

/**
 * Tries again when it fails, as often as the mail's own job says, and gives up in words. At least once: who dies between the
 * server's answer and the end of the job sends the mail again, under the same Message-ID. What a mail says is never logged.
 */
export function createSendMail({ smtpUrl, from }: MailSettings, logger: Logger): Task {
  let transporter: Promise<Transporter> | undefined;
  const domain = from.slice(from.lastIndexOf('@') + 1);
  return {
    name: 'send_mail',
    async run(signal, { payload, lastTry }) {
      const { id, to, subject, text } = mailSchema.parse(payload);
      const server = await (transporter ??= openTransporter(smtpUrl));
      try {
        await server.sendMail({
          messageId: `<${id}@${domain}>`,
          // As objects, addresses are not parsed once more.
          from: { name: '', address: from },
          to: { name: '', address: to },
          subject,
          text,
          // Nobody's absence is announced to us: https://www.rfc-editor.org/rfc/rfc3834#section-5
          headers: { 'Auto-Submitted': 'auto-generated' },
          signal,
        });
      } catch (error) {
        if (!lastTry) throw error;
        // Returning takes the job, and the links in it, out of the queue.
        logger.error({ err: error }, 'a mail could not be sent in many tries and is given up; ask for a new one');
      }
    },
  };
}

async function openTransporter(url: string): Promise<Transporter> {
  const { createTransport } = await import('nodemailer');
  return createTransport({
    url,
    connectionTimeout: connectMs,
    greetingTimeout: connectMs,
    dnsTimeout: connectMs,
    socketTimeout: silenceMs,
  });
}
