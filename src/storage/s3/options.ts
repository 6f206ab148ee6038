/** Where the S3 back end keeps its objects, and how it asks for them. */
export interface S3Options {
  readonly bucket: string;
  /** Undefined: Amazon's own, by the region. */
  readonly endpoint: URL | undefined;
  readonly region: string;
  /** Whether the bucket is named in the path instead of the host name. */
  readonly forcePathStyle: boolean;
  /** What every object's name begins with: empty, or ending in a slash. */
  readonly prefix: string;
  /** Undefined: found by the SDK's default chain (environment, files, roles). */
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string } | undefined;
  readonly storageClass: string | undefined;
  readonly encryption: { readonly algorithm: string; readonly keyId: string | undefined } | undefined;
  /** Whether all parts of an upload but the last must have one size. */
  readonly equalParts: boolean;
  /** At least 5 MiB. */
  readonly partBytes: number;
  /** For the parts of all uploads of this process together. */
  readonly memoryBytes: number;
  /** For one request and its repetitions, until its answer begins. */
  readonly timeoutMs: number;
  readonly connectTimeoutMs: number;
  readonly socketsMax: number;
  /** Undefined: nobody is sent to S3. */
  readonly redirect: { readonly endpoint: URL | undefined; readonly expirySeconds: number } | undefined;
}

/** S3's own limit for every part but the last. */
export const partBytesMin = 5 * 1024 * 1024;
/** S3's own limit for the parts of one upload. */
export const partNumberMax = 10_000;
