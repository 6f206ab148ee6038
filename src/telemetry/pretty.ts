/** A line of JSON as a person reads it: `09:41:07 info  listening address=127.0.0.1:5000`, an error's stack below it. */
export function prettyLine(json: string): string {
  const { time, level, msg, err, ...rest } = JSON.parse(json) as Record<string, unknown>;
  const clock = new Date(String(time)).toTimeString().slice(0, 8);
  const fields = Object.entries(rest).map(
    ([name, value]) => `${name}=${typeof value === 'string' ? quoted(value) : JSON.stringify(value)}`,
  );
  const head = [clock, String(level).padEnd(5), ...(typeof msg === 'string' ? [oneLine(msg)] : []), ...fields].join(
    ' ',
  );
  return `${[head, ...stackOf(err)].join('\n')}\n`;
}

/** What came from outside must not look like a line of its own, nor reach the terminal as a control sequence. */
const oneLine = (text: string): string =>
  text.replaceAll(/\p{Cc}/gu, (character) => JSON.stringify(character).slice(1, -1));

const quoted = (text: string): string => (/^[\w.:/@+-]+$/.test(text) ? text : JSON.stringify(text));

function stackOf(err: unknown): string[] {
  if (typeof err !== 'object' || err === null || !('stack' in err) || typeof err.stack !== 'string') return [];
  return err.stack.split('\n').map((line) => `    ${oneLine(line)}`);
}
