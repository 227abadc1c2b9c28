// The short form of `make chaos`: four faults under load, and what is promised whatever happens. Times are judged there.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { suffer } from '../chaos/room.mjs';

const SEED = Number(process.env.SLIPWAY_TEST_SEED ?? 1);
const FAULTS = ['server kill -9', 'redis restarted', 'redis link cut', 'client link half-open'];

describe(`under load (SLIPWAY_TEST_SEED=${SEED})`, () => {
  const rows = new Map();
  let end;
  before(async () => {
    await suffer(FAULTS, {
      seed: SEED, name: 'chaos-short', quiet: 1000, slack: 5,
      tell: ({ row, read, lost }) => (row ? rows.set(row.name, row) : (end = { read, lost })),
    });
  });
  after(() => rows.clear());

  for (const name of FAULTS)
    test(`${name}: nothing acknowledged is lost, no gap is unsignalled, liveness is up, work goes on`, (t) => {
      const { answers, slowest, back, read, broken } = rows.get(name);
      t.diagnostic(`${answers} answers, the slowest after ${Math.round(slowest)} ms; back after ${Math.round(back)} ms; ${read} read back`);
      assert.ok(answers > 20);
      assert.deepEqual(broken.filter((text) => !text.startsWith('p99')), []);
    });

  test('in the end all that was acknowledged is there', () => {
    assert.ok(end.read > 0);
    assert.equal(end.lost, 0);
  });
});
