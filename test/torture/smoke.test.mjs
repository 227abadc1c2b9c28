// Each scenario of `make torture`, for a moment: a sample of the places where a call can fail.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { rows } from './torture.mjs';

const SECONDS = 0.25; // each scenario and kind
const SLOW = ['start-embedded']; // a call that fails takes seconds

/** Both kinds on one server: most of the time goes into its start and its end. */
async function sample(row) {
  let before;
  for (const kind of ['alloc', 'op']) {
    const sweep = row.sweep(kind, { sites: kind === 'alloc', seconds: SECONDS, before, leaves: kind === 'alloc' });
    const { row: counted, problems } = await sweep.run();
    assert.equal(problems.length, 0, problems.join('\n\n'));
    assert.ok(counted.failed > 0 || counted.calls < 2, `no ${kind} failed`);
    before = sweep;
  }
}

describe('whichever allocation or operation fails, it goes right or is refused', { concurrency: 2 }, () => {
  for (const row of rows.filter(({ name }) => !SLOW.includes(name)))
    test(row.name, () => sample(row));
});
