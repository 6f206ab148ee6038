// Takes the Node that package.json carries for `npm start` out of package.json and package-lock.json of this folder, so
// that `npm ci` does not fetch one for an image that has one.
import { readFileSync, writeFileSync } from 'node:fs';

const carried = /^(?:node_modules\/)?node-(?:linux|bin)-/;

for (const file of ['package.json', 'package-lock.json']) {
  const content = JSON.parse(readFileSync(file, 'utf8'));
  const { packages = {} } = content;
  const root = packages[''] ?? content;
  for (const names of [root.optionalDependencies, packages]) {
    for (const name of Object.keys(names)) if (carried.test(name)) delete names[name];
  }
  writeFileSync(file, `${JSON.stringify(content, null, 2)}\n`);
}
