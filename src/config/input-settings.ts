import * as value from './values.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;
const TIB = 1024 * GIB;

/** The most of everything that clients may send or ask for. Rows of the schema in settings.ts. */
export const inputSettings = {
  BERTH_SPARSE_MANIFESTS: {
    type: value.choice('reject', 'accept'),
    default: 'reject',
    doc: 'Whether a manifest may be pushed before the blobs and manifests that it names.',
  },
  BERTH_MANIFEST_BYTES_MAX: {
    type: value.wholeNumber(64 * KIB, 64 * MIB),
    default: '4194304',
    unit: 'bytes',
    doc: 'The largest manifest; more is answered 413.',
  },
  BERTH_MANIFEST_DEPTH_MAX: {
    type: value.wholeNumber(8, 1000),
    default: '64',
    doc: 'How deep the JSON of a manifest may be nested.',
  },
  BERTH_MANIFEST_REFERENCES_MAX: {
    type: value.wholeNumber(128, 100_000),
    default: '10000',
    doc: 'How many blobs and manifests one manifest may name.',
  },
  BERTH_TAGS_PER_PUSH_MAX: {
    type: value.wholeNumber(10, 10_000),
    default: '100',
    doc: 'How many `?tag=` one push of a manifest may carry.',
  },
  BERTH_BLOB_BYTES_MAX: {
    type: value.wholeNumber(MIB, 1024 * TIB),
    default: '1099511627776',
    unit: 'bytes',
    doc: 'The largest blob; more is answered 413.',
  },
  BERTH_UPLOADS_PER_ACCOUNT_MAX: {
    type: value.wholeNumber(1, 1_000_000),
    default: '1000',
    doc: 'How many uploads one account may have open.',
  },
  BERTH_UPLOAD_EXPIRY_HOURS: {
    type: value.wholeNumber(1, 24 * 365),
    default: '24',
    unit: 'hours',
    doc: 'When an upload that receives nothing more is given up and its bytes are swept.',
  },
  BERTH_UPLOAD_LEASE_SECONDS: {
    type: value.wholeNumber(5, 3600),
    default: '30',
    unit: 'seconds',
    doc: 'How long an upload stays bound to a process that no longer answers for it.',
  },
  BERTH_PAGE_SIZE_MAX: {
    type: value.wholeNumber(1, 100_000),
    default: '1000',
    doc: 'The most entries of one page of tags, repositories or referrers.',
  },
  BERTH_REFERRERS_PAGE_BYTES_MAX: {
    type: value.wholeNumber(64 * KIB, 64 * MIB),
    default: '4194304',
    unit: 'bytes',
    doc: 'The most bytes of one page of referrers.',
  },
  BERTH_REQUEST_BODY_BYTES_MAX: {
    type: value.wholeNumber(KIB, GIB),
    default: '1048576',
    unit: 'bytes',
    doc: 'The largest body of a request to `/api` or to the token end-point.',
  },
  BERTH_HEADER_BYTES_MAX: {
    type: value.wholeNumber(8 * KIB, MIB),
    default: '65536',
    unit: 'bytes',
    doc: 'The most bytes of all headers of one request.',
  },
} as const;
