// Each scenario of `make torture`, for a moment: a sample of the places where a call can fail.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rows } from './torture.mjs';

const SECONDS = 0.25; // each scenario and kind
const SLOW = ['start-embedded', 'agent-program', 'tls-reload']; // a call that fails takes seconds

for (const { name, sweep } of rows.filter((row) => !SLOW.includes(row.name)))
  for (const kind of ['alloc', 'op'])
    test(`${name}: whichever ${kind === 'alloc' ? 'allocation' : 'operation'} fails, it goes right or is refused`, async () => {
      const { row, problems } = await sweep(kind, { sites: kind === 'alloc', seconds: SECONDS }).run();
      assert.equal(problems.length, 0, problems.join('\n\n'));
      assert.ok(row.failed > 0 || row.calls < 2, 'no call failed');
    });
