// make demo: a workflow, then a release, on real processes, one line per step with what was observed. A step that fails is
// named, with what was seen and what was expected, and the exit status is 1.
//
//     node scripts/demo.mjs [workflow|release] [--break agent|hook|digest|upload]
import { ReleaseStory } from '../test/lib/release_story.mjs';
import { Story } from '../test/lib/story.mjs';

const stories = { workflow: ['A workflow', Story], release: ['A release', ReleaseStory] };
const args = process.argv.slice(2);
const breaks = args.includes('--break') ? args.splice(args.indexOf('--break'), 2)[1] : undefined;
const chosen = breaks ? (breaks === 'upload' ? ['release'] : ['workflow']) : args.length ? args : Object.keys(stories);
const unknown = chosen.find((name) => !stories[name]);
if (unknown !== undefined) {
  console.error(`demo: there is no story "${unknown}"; there are ${Object.keys(stories).join(' and ')}`);
  process.exit(2);
}

const colour = process.stdout.isTTY && !process.env.NO_COLOR;
const paint = (code, text) => (colour ? `\x1b[${code}m${text}\x1b[0m` : text);
const show = (value) => (typeof value === 'string' ? value : JSON.stringify(value));
let told = 0, failed;
for (const name of chosen) {
  const [title, Telling] = stories[name];
  console.log(paint(1, title));
  failed = await tell(new Telling({ breaks }));
  if (failed) break;
}
console.log(failed ? `demo: failed at "${failed}"` : `demo: all ${told} steps went well`);
process.exit(failed ? 1 : 0);

/** Answers the name of the step that failed. */
async function tell(story) {
  const steps = story.steps(), width = Math.max(...steps.map(([name]) => name.length));
  try {
    for (const [name, step] of steps) {
      const number = `${++told}`.padStart(2);
      try {
        console.log(`${paint(32, 'ok')}      ${number}  ${name.padEnd(width)}  ${paint(2, await step())}`);
      } catch (error) {
        console.log(`${paint(31, 'FAILED')}  ${number}  ${name}`);
        console.log(error.name === 'Mismatch' ? `            ${error.what}\n            expected  ${show(error.expected)}\n            seen      ${show(error.seen)}` : error.message);
        return name;
      }
    }
    return undefined;
  } finally {
    await story.close();
  }
}
