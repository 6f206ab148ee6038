import type { SettingValues } from './settings.ts';

/** Where blob bytes are kept. */
export function storageOf(values: SettingValues) {
  /** `s3` is there wherever a bucket is named, so always where it is the kind. */
  return Object.freeze({
    kind: values.BERTH_STORAGE,
    /** Where blobs still are that move to `kind`. */
    previous: values.BERTH_STORAGE_PREVIOUS,
    s3: s3Of(values),
  });
}

/** S3 takes 10,000 parts, of which some may be short, and some numbers be left out. */
const fullPartsMax = 9000;

/** The largest blob that the storage takes. */
export function blobBytesMaxOf({ BERTH_STORAGE, BERTH_BLOB_BYTES_MAX, BERTH_S3_PART_BYTES }: SettingValues): number {
  return BERTH_STORAGE === 's3'
    ? Math.min(BERTH_BLOB_BYTES_MAX, fullPartsMax * BERTH_S3_PART_BYTES)
    : BERTH_BLOB_BYTES_MAX;
}

function s3Of(values: SettingValues) {
  const { BERTH_S3_BUCKET: bucket, BERTH_S3_ENCRYPTION: algorithm } = values;
  const { BERTH_S3_ACCESS_KEY_ID: accessKeyId, BERTH_S3_SECRET_ACCESS_KEY: secretAccessKey } = values;
  if (bucket === undefined) return undefined;
  return Object.freeze({
    bucket,
    endpoint: values.BERTH_S3_ENDPOINT,
    region: values.BERTH_S3_REGION,
    forcePathStyle: values.BERTH_S3_FORCE_PATH_STYLE === 'true',
    prefix: values.BERTH_S3_PREFIX ?? '',
    credentials:
      accessKeyId === undefined || secretAccessKey === undefined
        ? undefined
        : Object.freeze({ accessKeyId, secretAccessKey }),
    storageClass: values.BERTH_S3_STORAGE_CLASS,
    encryption: algorithm === undefined ? undefined : Object.freeze({ algorithm, keyId: values.BERTH_S3_KMS_KEY_ID }),
    equalParts: values.BERTH_S3_EQUAL_PARTS === 'true',
    partBytes: values.BERTH_S3_PART_BYTES,
    memoryBytes: values.BERTH_S3_UPLOAD_MEMORY_BYTES,
    timeoutMs: values.BERTH_S3_TIMEOUT_SECONDS * 1000,
    connectTimeoutMs: values.BERTH_S3_CONNECT_TIMEOUT_SECONDS * 1000,
    socketsMax: values.BERTH_S3_SOCKETS_MAX,
    redirect: redirectOf(values),
  });
}

function redirectOf(values: SettingValues) {
  if (values.BERTH_S3_REDIRECT === 'off') return undefined;
  return Object.freeze({
    /** The smallest blob that is redirected. */
    bytesMin: values.BERTH_S3_REDIRECT_BYTES_MIN,
    /** Undefined: clients reach S3 where Berth does. */
    endpoint: values.BERTH_S3_REDIRECT_ENDPOINT,
    expirySeconds: values.BERTH_S3_REDIRECT_EXPIRY_SECONDS,
    /** What the `User-Agent` of a client that cannot follow has in it. */
    notFor: values.BERTH_S3_REDIRECT_NOT_FOR ?? [],
  });
}
