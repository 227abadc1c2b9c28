// make demo: the narrow story on real processes, one line per step with what was observed. A step that fails is named, with
// what was seen and what was expected, and the exit status is 1.
import { Story } from '../test/lib/story.mjs';

const breaks = process.argv.includes('--break') ? process.argv[process.argv.indexOf('--break') + 1] : undefined;
const colour = process.stdout.isTTY && !process.env.NO_COLOR;
const paint = (code, text) => (colour ? `\x1b[${code}m${text}\x1b[0m` : text);

const story = new Story({ breaks });
const steps = story.steps();
const width = Math.max(...steps.map(([name]) => name.length));
let failed;
for (const [i, [name, step]] of steps.entries()) {
  const number = `${i + 1}`.padStart(2);
  try {
    const seen = await step();
    console.log(`${paint(32, 'ok')}      ${number}  ${name.padEnd(width)}  ${paint(2, seen)}`);
  } catch (error) {
    failed = name;
    console.log(`${paint(31, 'FAILED')}  ${number}  ${name}`);
    console.log(error.name === 'Mismatch' ? `            ${error.what}\n            expected  ${show(error.expected)}\n            seen      ${show(error.seen)}` : error.message);
    break;
  }
}
await story.close();
console.log(failed ? `demo: failed at "${failed}"` : `demo: all ${steps.length} steps went well`);
process.exit(failed ? 1 : 0);

function show(value) {
  return typeof value === 'string' ? value : JSON.stringify(value);
}
