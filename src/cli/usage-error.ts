/** The command was given something that it cannot work with; the message is for who typed it. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}
