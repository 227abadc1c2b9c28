// Is the sweep worth anything? One row is spoilt, the server is linked anew with it, and the sweep must fail and name the
// operation. The rest of the server is the one under test: a spoilt object is linked before the archive.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { BUILD, Nest, ROOT, run } from '../lib/process.mjs';

const CREATE = '{POST, "/environments", crud_create, "environment:create", "createEnvironment"';

let nest;
let make;
before(async () => {
  nest = new Nest('mutation');
  // What make would compile and link with, in this build's profile.
  const asked = await run('make', ['-s', '--no-print-directory', '--eval',
    'asked: ; @printf "%s\\n" "$(CC)" "$(CPPFLAGS) $(CFLAGS)" "$(LDFLAGS)" "$(LDLIBS)"', 'asked'], { cwd: ROOT });
  assert.equal(asked.code, 0, asked.stderr);
  const [cc, cflags, ldflags, ldlibs] = asked.stdout.split('\n').map((line) => line.split(/\s+/).filter(Boolean));
  make = { cc, cflags: cflags.filter((flag) => flag !== '-Werror'), ldflags, ldlibs };
});
after(() => nest?.remove());

async function compile(...args) {
  const { code, stderr } = await run(make.cc[0], [...make.cc.slice(1), ...args], { cwd: ROOT, patience: 120_000 });
  assert.equal(code, 0, stderr);
}

/** The sweep's verdict on a server with `spoil` done to the text of a resource's rows. */
async function sweep(name, spoil, resource = 'environment') {
  const source = fs.readFileSync(path.join(ROOT, `server/api/orchestrator/${resource}.c`), 'utf8');
  const spoilt = spoil(source);
  if (spoil !== untouched) assert.notEqual(spoilt, source, 'the row to spoil is there');
  const dir = nest.file(name);
  fs.mkdirSync(dir);
  fs.writeFileSync(path.join(dir, 'spoilt.c'), spoilt);
  await compile(...make.cflags, '-c', '-o', path.join(dir, 'spoilt.o'), path.join(dir, 'spoilt.c'));
  await compile(...make.ldflags, '-o', path.join(dir, 'slipway'), path.join(BUILD, 'server/main.o'),
    path.join(dir, 'spoilt.o'), path.join(BUILD, 'slipway.a'), ...make.ldlibs);
  return run(process.execPath, ['--test', '--test-reporter=spec', 'test/api/sweep.test.mjs'], {
    cwd: ROOT,
    env: { NODE_TEST_CONTEXT: undefined, BUILD: dir, SWEEP: `/${resource}s` }, // a test run of its own
    patience: 150_000,
  });
}

const untouched = (source) => source;
const fails = async (name, spoil, saying, resource) => {
  const { code, stdout } = await sweep(name, spoil, resource);
  assert.notEqual(code, 0, `the sweep did not notice: ${name}`);
  assert.match(stdout, saying);
};

test('the sweep passes when nothing is spoilt', async () => {
  const { code, stdout, stderr } = await sweep('untouched', untouched);
  assert.equal(code, 0, stdout + stderr);
});

test('it fails when a required member no longer is', () =>
  fails('required', (source) => source.replace('FIELD_STRING, FIELD_REQUIRED | FIELD_FILTER', 'FIELD_STRING, FIELD_FILTER'),
    /required members of POST \/api\/v1\/environments/));

test('it fails when an operation lost its permission', () =>
  fails('permission', (source) => source.replace(CREATE, CREATE.replace('"environment:create"', 'NULL')).replace('.status = 201,', '.status = 201, .flags = ROUTE_PUBLIC,'),
    /permission of POST \/api\/v1\/environments/));

test('it fails when an operation asks for another permission', () =>
  fails('other-permission', (source) => source.replace(CREATE, CREATE.replace('"environment:create"', '"environment:read"')),
    /permission of POST \/api\/v1\/environments/));

test('it fails when a member that promotions require no longer is', () =>
  fails('promotion', (source) => source.replace(/(\{"targetEnvironmentId",\s*FIELD_UUID,\s*)FIELD_REQUIRED \| /, '$1'),
    /required members of POST \/api\/v1\/promotions/, 'promotion'));
