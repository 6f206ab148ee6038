/** The registry could not be brought up by its workers, or cannot go on. The message is for the operator. */
export class ServingError extends Error {
  override readonly name = 'ServingError';
}
