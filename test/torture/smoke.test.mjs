// Each scenario of `make torture`, for a moment: a sample of the places where a call can fail.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Torture } from './torture.mjs';
import { scenarios } from './scenarios.mjs';

const SECONDS = 0.5; // each scenario and kind

for (const scenario of scenarios)
  for (const kind of ['alloc', 'op'])
    test(`${scenario.name}: whichever ${kind === 'alloc' ? 'allocation' : 'operation'} fails, there is a right answer or a refusal`, async () => {
      const { row, problems } = await new Torture(scenario, kind, { sites: true, seconds: SECONDS }).run();
      assert.equal(problems.length, 0, problems.join('\n\n'));
      assert.ok(row.failed > 0, 'no call failed');
    });
