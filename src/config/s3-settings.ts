import * as value from './values.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;

/** Where `BERTH_STORAGE=s3` keeps the blobs, and how. Rows of the schema in settings.ts. */
export const s3Settings = {
  BERTH_S3_BUCKET: {
    type: value.bucketName,
    doc: 'The bucket of the blobs; it must be there. `s3` needs it.',
  },
  BERTH_S3_ENDPOINT: {
    type: value.publicUrl,
    doc: "Where the S3 server is. Unset: Amazon's, in `BERTH_S3_REGION`.",
  },
  BERTH_S3_REGION: { type: value.word, default: 'us-east-1', doc: 'The region of the bucket.' },
  BERTH_S3_FORCE_PATH_STYLE: {
    type: value.choice('false', 'true'),
    default: 'false',
    doc: 'Whether the bucket is named in the path instead of the host name; most servers but Amazon need it.',
  },
  BERTH_S3_PREFIX: {
    type: value.objectPrefix,
    doc: 'What the name of every object begins with, so that a bucket can be shared: `berth/`, for example.',
  },
  BERTH_S3_ACCESS_KEY_ID: {
    type: value.word,
    doc: 'Goes with `BERTH_S3_SECRET_ACCESS_KEY`. Unset: what the AWS SDK finds (its environment variables, files, and roles).',
  },
  BERTH_S3_SECRET_ACCESS_KEY: {
    type: value.line,
    doc: 'Goes with `BERTH_S3_ACCESS_KEY_ID`.',
    secret: true,
  },
  BERTH_S3_STORAGE_CLASS: {
    type: value.word,
    doc: "The storage class of blobs, such as `STANDARD_IA`. Unset: the bucket's own.",
  },
  BERTH_S3_ENCRYPTION: {
    type: value.choice('AES256', 'aws:kms', 'aws:kms:dsse'),
    doc: "How S3 encrypts what it stores. Unset: as the bucket's settings say.",
  },
  BERTH_S3_KMS_KEY_ID: { type: value.word, doc: 'The key of an `aws:kms` encryption. Unset: the one of the account.' },
  BERTH_S3_EQUAL_PARTS: {
    type: value.choice('false', 'true'),
    default: 'false',
    doc: 'Whether all parts of an upload but its last have one size; Cloudflare R2 needs it.',
  },
  BERTH_S3_PART_BYTES: {
    type: value.wholeNumber(5 * MIB, GIB),
    default: '8388608',
    unit: 'bytes',
    doc: 'The size of the parts of an upload. S3 takes 10,000 of them, so a blob has at most 9,000 times as many bytes. Uploads that have begun with larger parts cannot be gone on with.',
  },
  BERTH_S3_UPLOAD_MEMORY_BYTES: {
    type: value.wholeNumber(16 * MIB, 64 * GIB),
    default: '33554432',
    unit: 'bytes',
    doc: 'Memory for the parts of all uploads of one process; it has room for two parts at least. Where it is used up, senders wait.',
  },
  BERTH_S3_TIMEOUT_SECONDS: {
    type: value.wholeNumber(1, 3600),
    default: '30',
    unit: 'seconds',
    doc: 'How long S3 may take to answer a request, repetitions included, and how long a download may stand still, before clients are answered 503.',
  },
  BERTH_S3_CONNECT_TIMEOUT_SECONDS: {
    type: value.wholeNumber(1, 3600),
    default: '5',
    unit: 'seconds',
    doc: 'How long S3 may take to accept a connection.',
  },
  BERTH_S3_SOCKETS_MAX: {
    type: value.wholeNumber(4, 65_535),
    default: '256',
    doc: 'The most connections to S3 of one process. Each download through Berth needs one.',
  },
  BERTH_S3_REDIRECT: {
    type: value.choice('off', 'on'),
    default: 'off',
    doc: 'Whether large blobs are downloaded from S3 itself, by a redirect to an address that is signed for a short time. Who has such an address can use it until then, whatever becomes of their rights.',
  },
  BERTH_S3_REDIRECT_BYTES_MIN: {
    type: value.wholeNumber(0, 1024 * GIB),
    default: '1048576',
    unit: 'bytes',
    doc: 'The smallest blob that is redirected; smaller ones are sent by Berth.',
  },
  BERTH_S3_REDIRECT_ENDPOINT: {
    type: value.publicUrl,
    doc: 'Where clients reach the S3 server. Unset: at `BERTH_S3_ENDPOINT`.',
  },
  BERTH_S3_REDIRECT_EXPIRY_SECONDS: {
    type: value.wholeNumber(5, 7 * 24 * 3600),
    default: '60',
    unit: 'seconds',
    doc: 'How long a redirect can be followed; a download that has begun goes on.',
  },
  BERTH_S3_REDIRECT_NOT_FOR: {
    type: value.words,
    doc: 'Clients that cannot follow a redirect: words, separated by commas, one of which is in their `User-Agent`.',
  },
} as const;
