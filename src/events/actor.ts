/** Who did something, from where, by which request: what every row of the audit log begins with. */
export interface Actor {
  /** The credential that was used; null for the command line, which needs none. */
  readonly credentialId: number | null;
  /** The account behind it; null for robots, anonymous callers and the command line. */
  readonly userId: number | null;
  /** As a person reads it: an account's name, a robot's, `anonymous`, `berth user add`. */
  readonly name: string;
  /** The client's address, as trusted proxies say it. */
  readonly address: string | null;
  /** The User-Agent, cut to 256 characters. */
  readonly client: string | null;
  readonly requestId: string | null;
}
