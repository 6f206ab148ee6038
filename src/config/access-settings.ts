import * as value from './values.ts';

/** Who gets an account, and how long what they sign in with is good. Rows of the schema in settings.ts. */
export const accessSettings = {
  BERTH_ADMIN_USERNAME: {
    type: value.userName,
    default: 'admin',
    doc: 'The account that is created at the first start.',
  },
  BERTH_ADMIN_PASSWORD: {
    type: value.password,
    doc: 'Its password. Unset: a random one, printed once and kept in the data folder, readable by its owner only.',
    secret: true,
  },
  BERTH_DEFAULT_VISIBILITY: {
    type: value.choice('private', 'internal', 'public'),
    default: 'private',
    doc: 'The visibility of a new repository: its members, everybody who is signed in, or everybody may pull.',
  },
  BERTH_ORGANIZATION_CREATION: {
    type: value.choice('everybody', 'administrators'),
    default: 'everybody',
    doc: 'Who may make organizations: everybody who has an account, or administrators only.',
  },
  BERTH_INVITATION_EXPIRY_DAYS: {
    type: value.wholeNumber(1, 365),
    default: '7',
    unit: 'days',
    doc: 'How long an invitation to an organization or a repository can be accepted.',
  },
  BERTH_INVITATIONS_MAX: {
    type: value.wholeNumber(1, 1_000_000),
    default: '100',
    doc: 'How many invitations of one namespace, and of one account, may be open or younger than a day.',
  },
  BERTH_REGISTRATION: {
    type: value.choice('closed', 'invitation', 'open'),
    default: 'closed',
    doc: 'Who may make an account by asking for it: nobody, those with an open invitation to an organization, or everybody with an address. Needs a mail server. Administrators invite whom they want in any case.',
  },
  BERTH_SESSION_TTL_HOURS: {
    type: value.wholeNumber(1, 24 * 365),
    default: '168',
    unit: 'hours',
    doc: 'How long somebody stays signed in at the page or the API.',
  },
  BERTH_TOKEN_TTL_SECONDS: {
    type: value.wholeNumber(60, 3600),
    default: '300',
    unit: 'seconds',
    doc: 'How long an access token lives.',
  },
  BERTH_REFRESH_TOKEN_TTL_DAYS: {
    type: value.wholeNumber(1, 3650),
    default: '90',
    unit: 'days',
    doc: 'How long a refresh token lives.',
  },
  BERTH_TOKEN_CLOCK_SKEW_SECONDS: {
    type: value.wholeNumber(0, 600),
    default: '60',
    unit: 'seconds',
    doc: "How far another replica's clock may be off before its tokens are refused.",
  },
  BERTH_TOKEN_EXPIRY_DAYS_MAX: {
    type: value.wholeNumber(0, 36_500),
    default: '365',
    unit: 'days',
    doc: 'The longest life of a new personal access token or robot. 0: no maximum, and they may live for ever.',
  },
  BERTH_SIGNING_KEY_ROTATION_DAYS: {
    type: value.wholeNumber(0, 3650),
    default: '30',
    unit: 'days',
    doc: 'The age at which the key that signs access tokens is replaced; its tokens stay valid until they expire. 0: never.',
  },
} as const;
