/** What people do who have no account yet, or lost their password: by links that are mailed. */
import { z } from 'zod';
import { checkLink, type Site } from '../../access/links.ts';
import type { RateLimits } from '../../access/limits/limits.ts';
import { hashPassword } from '../../access/passwords.ts';
import {
  confirmEmail,
  confirmPasswordReset,
  confirmRegistration,
  type RegistrationMode,
} from '../../access/registration.ts';
import { queueRequest } from '../../access/sql/requests.ts';
import { ApiError } from '../../oci/problem.ts';
import { defineOperation, type Operation } from './operation.ts';
import { emailField, linkTokenField, newPasswordField, usernameField } from './people.ts';

export interface RegistrationParts {
  readonly rateLimits: RateLimits;
  readonly mode: RegistrationMode;
  readonly site: Site;
}

const common = { tags: ['registration'], access: 'anyone', apiScope: null, effect: 'changes' } as const;

export function registrationOperations({ rateLimits, mode, site }: RegistrationParts): readonly Operation[] {
  const askAdministrator = 'Ask an administrator of the registry.';
  return [
    defineOperation({
      ...common,
      id: 'register',
      method: 'post',
      path: '/registrations',
      summary: 'Ask for an account',
      description:
        'A link to make it is mailed. The answer is the same whether or not the address has an account or an invitation; the ' +
        'mail says more.',
      body: z.strictObject({ email: emailField }),
      answers: { 202: null },
      async prepare({ actor }) {
        if (mode === 'closed' || !site.sendsMail)
          throw new ApiError('forbidden', 'registration is closed here', { next: askAdministrator });
        await rateLimits.mail(actor.address ?? '');
      },
      async handler({ body: { email }, queryer, actor }) {
        await queueRequest(queryer, 'answer_registration', email, actor);
        return { status: 202 };
      },
    }),
    defineOperation({
      ...common,
      id: 'confirmRegistration',
      method: 'post',
      path: '/registrations/confirm',
      summary: 'Make the account that a registration link is for',
      body: z.strictObject({ token: linkTokenField, username: usernameField, password: newPasswordField }),
      answers: { 201: z.strictObject({ name: z.string(), email: z.string() }) },
      async prepare({ body: { token, password }, queryer }) {
        const { email } = await checkLink(queryer, 'registration', token);
        return { email: email!, secretHash: await hashPassword(password) };
      },
      async handler({ body: { token, username }, prepared: { email, secretHash }, queryer, actor }) {
        const { name } = await confirmRegistration(queryer, { token, username, secretHash }, actor);
        return { status: 201, body: { name, email } };
      },
    }),
    defineOperation({
      ...common,
      id: 'forgetPassword',
      method: 'post',
      path: '/password-resets',
      summary: 'Ask for a link to choose a new password',
      description:
        'It is mailed to the confirmed address of the account. The answer is the same whether or not there is an account.',
      body: z.strictObject({
        account: z.string().min(1).max(254).meta({ description: 'A user name or an e-mail address.' }),
      }),
      answers: { 202: null },
      async prepare({ actor }) {
        if (!site.sendsMail) throw new ApiError('forbidden', 'this registry sends no mail', { next: askAdministrator });
        await rateLimits.mail(actor.address ?? '');
      },
      async handler({ body: { account }, queryer, actor }) {
        await queueRequest(queryer, 'answer_password_reset', account, actor);
        return { status: 202 };
      },
    }),
    defineOperation({
      ...common,
      id: 'resetPassword',
      method: 'post',
      path: '/password-resets/confirm',
      summary: 'Choose a new password by a link',
      description: 'Ends all that came from the old one: sessions and docker logins. A second factor stays on.',
      body: z.strictObject({ token: linkTokenField, newPassword: newPasswordField }),
      answers: { 204: null },
      async prepare({ body: { token, newPassword }, queryer }) {
        await checkLink(queryer, 'password_reset', token);
        return hashPassword(newPassword);
      },
      async handler({ body: { token }, prepared: secretHash, queryer, actor }) {
        await confirmPasswordReset(queryer, { token, secretHash }, { site, actor });
        return { status: 204 };
      },
    }),
    defineOperation({
      ...common,
      id: 'verifyEmail',
      method: 'post',
      path: '/email-verifications/confirm',
      summary: 'Confirm an e-mail address by a link',
      body: z.strictObject({ token: linkTokenField }),
      answers: { 204: null },
      async handler({ body: { token }, queryer, actor }) {
        await confirmEmail(queryer, token, { site, actor });
        return { status: 204 };
      },
    }),
  ];
}
