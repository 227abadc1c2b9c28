// The served documents, judged by the tools that other people read them with.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { Parser } from '@asyncapi/parser';
import { run } from '../lib/process.mjs';
import { start } from '../lib/slipway.mjs';

let s;
before(async () => (s = await start({ name: 'documents', workers: 1 })));
after(() => s?.stop());

const served = async (name) => {
  const answer = await s.api.request('GET', name, undefined, { absolute: true });
  assert.equal(answer.status, 200);
  assert.equal(answer.type, 'application/json');
  return answer;
};

test('@redocly/cli accepts /openapi.json', async () => {
  const { text, body } = await served('/openapi.json');
  assert.match(body.openapi, /^3\.1\./);
  const file = s.nest.file('openapi.json');
  fs.writeFileSync(file, text);
  // Its own rules for a valid document; what a style guide would like beyond that is not asked for.
  fs.writeFileSync(s.nest.file('redocly.yaml'), 'extends: [spec]\ntelemetry: off\n');
  const cli = path.join(path.dirname(createRequire(import.meta.url).resolve('@redocly/cli/package.json')), 'bin/cli.js');
  const { code, stdout, stderr } = await run(process.execPath, [cli, 'lint', '--config', s.nest.file('redocly.yaml'), file], {
    cwd: s.nest.dir,
    env: { REDOCLY_TELEMETRY: 'off', REDOCLY_SUPPRESS_UPDATE_NOTICE: 'true', CI: 'true' },
  });
  assert.equal(code, 0, stdout + stderr);
});

test('@asyncapi/parser accepts /asyncapi.json', async () => {
  const { text, body } = await served('/asyncapi.json');
  assert.equal(body.asyncapi, '3.1.0');
  const { document, diagnostics } = await new Parser().parse(text);
  assert.deepEqual(diagnostics.filter((d) => d.severity <= 1).map((d) => `${d.path.join('.')}: ${d.message}`), []);
  assert.ok(document);
});

test('every message of the streams is closed and says what it is', async () => {
  const { body } = await served('/asyncapi.json');
  for (const [name, message] of Object.entries(body.components.messages)) {
    assert.equal(message.payload.additionalProperties, false, name);
    assert.ok(message.summary.endsWith('.'), name);
    assert.deepEqual(message.payload.properties.type.enum, [message.name]);
  }
});

test('the documents need no credentials', async () => {
  const nobody = s.api.as(undefined);
  for (const name of ['/openapi.json', '/asyncapi.json', '/docs'])
    assert.equal((await nobody.request('GET', name, undefined, { absolute: true })).status, 200, name);
});
