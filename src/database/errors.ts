/** What goes wrong with statements, in words of our own: SQLSTATEs stay in this room. */

/** PostgreSQL cannot be reached, does not answer in time, or went away in the middle. What was under way may or may not have been committed. */
export class DatabaseUnavailableError extends Error {
  override readonly name = 'DatabaseUnavailableError';
}

/** A constraint of the schema refused a row; `constraint` is its name. */
export class ConstraintError extends Error {
  override readonly name = 'ConstraintError';
  readonly constraint: string;
  constructor(constraint: string, cause: unknown) {
    super(`the database refused a row: ${constraint}`, { cause });
    this.constraint = constraint;
  }
}

/** Two transactions met; PostgreSQL ended this one and it can be tried again. Never leaves `transaction`, except when tries run out. */
export class ConflictError extends Error {
  override readonly name = 'ConflictError';
}

/**
 * Beside the classes of connections, resources and shutdowns: 25006, a server that has become a standby; 57014, a statement
 * that took longer than the server lets it; 55P03, a lock that did. FATAL ends a connection, or refuses one: the database is
 * being renamed or restored (3D000), the password was changed.
 */
const gone = /^(08|25006|28|3D|53|55P03|57|E[A-Z])/;

/** What `pg` threw, as one of the above; itself where it is our own mistake. */
export function translate(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof DatabaseUnavailableError) return error;
  const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined;
  if (code === '40001' || code === '40P01') return new ConflictError(error.message, { cause: error });
  if (code?.startsWith('23') === true && 'constraint' in error && typeof error.constraint === 'string')
    return new ConstraintError(error.constraint, error);
  const fatal = 'severity' in error && error.severity === 'FATAL';
  const unavailable = code === undefined ? !(error instanceof TypeError) : fatal || gone.test(code);
  if (unavailable)
    return new DatabaseUnavailableError(`the database is not available: ${error.message}`, { cause: error });
  return error;
}
