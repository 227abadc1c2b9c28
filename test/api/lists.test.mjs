// Lists: page, sort, filter. One data set, and the same questions answered by a few lines of JavaScript.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { start } from '../lib/slipway.mjs';

let s, api, all;
const COUNT = 130;
const path = '/environments';

before(async () => {
  s = await start({ name: 'lists' });
  api = s.api;
  all = [];
  for (let i = 0; i < COUNT; i += 10)
    all.push(...await Promise.all(Array.from({ length: 10 }, (_, k) => i + k).map((n) => api.want(201, 'POST', path, {
      name: `e${String((n * 37) % COUNT).padStart(3, '0')}`, orderIndex: (n * 53) % COUNT, isProduction: n % 3 === 0,
      requireSod: n % 2 === 0, requiredApprovals: n % 5, displayName: n % 4 ? `Shown ${n % 7}` : 'x',
      ...(n % 6 ? {} : { promotionPolicy: 'strict' }),
    }))));
  // The order of creation is the server's to say.
  const order = await everything({ sort: 'createdAt' });
  all.sort((a, b) => order.indexOf(a.id) - order.indexOf(b.id));
  const deleted = all.splice(60, 1)[0];
  await api.want(204, 'DELETE', `${path}/${deleted.id}`);
});
after(() => s?.stop());

async function everything(query) {
  const ids = [];
  for (let page = 1; ; page++) {
    const { body } = await api.get(path, { query: { pageSize: '100', ...query, page: String(page) } });
    ids.push(...body.data.map((e) => e.id));
    if (!body.meta.pagination.hasNext) return ids;
  }
}

/** The list under `query` is exactly `expected`, page by page, with exact totals. */
async function same(query, expected, pageSize = 7) {
  const ids = expected.map((e) => e.id);
  const pages = Math.ceil(ids.length / pageSize);
  for (let page = 1; page <= pages + 1; page++) {
    const { status, body } = await api.get(path, { query: { ...query, page: String(page), pageSize: String(pageSize) } });
    assert.equal(status, 200);
    assert.deepEqual(body.data.map((e) => e.id), ids.slice((page - 1) * pageSize, page * pageSize), `page ${page} of ${JSON.stringify(query)}`);
    assert.deepEqual(body.meta.pagination, {
      page, pageSize, totalItems: ids.length, totalPages: pages, hasNext: page < pages, hasPrevious: page > 1 && ids.length > 0,
    });
  }
}

const by = (...keys) => (a, b) => {
  for (const key of keys) {
    const field = key.replace('-', '');
    const [x, y] = key.startsWith('-') ? [b, a] : [a, b];
    if (x[field] !== y[field]) return x[field] < y[field] ? -1 : 1;
  }
  return 0;
};
const sorted = (list, ...keys) => [...list].sort(by(...keys));
const filter = (expression) => ({ filter: JSON.stringify(expression) });

describe('without a filter', () => {
  test('the default order is the resource\'s own', () => same({}, sorted(all, 'orderIndex')));
  test('by creation, both ways', async () => {
    await same({ sort: 'createdAt' }, all);
    await same({ sort: '-createdAt' }, [...all].reverse(), 50);
  });
  test('by a text and by a number, both ways', async () => {
    await same({ sort: 'name' }, sorted(all, 'name'));
    await same({ sort: '-name' }, sorted(all, '-name'), 100);
    await same({ sort: '-orderIndex' }, sorted(all, '-orderIndex'), 33);
  });
  test('by several', () => same({ sort: '-name,orderIndex,createdAt' }, sorted(all, '-name', 'orderIndex'), 40));
});

describe('by facets', () => {
  test('one, in the order of creation', () => same({ isProduction: 'true', sort: 'createdAt' }, all.filter((e) => e.isProduction)));
  test('one, by another field', () => same({ isProduction: 'true', sort: '-name' }, sorted(all.filter((e) => e.isProduction), '-name')));
  test('two', () => same({ isProduction: 'true', requireSeparationOfDuties: 'false', sort: '-createdAt' },
    all.filter((e) => e.isProduction && !e.requireSeparationOfDuties).reverse()));
  test('any of several values', () => same({ name: 'e001,e007,e999', sort: 'name' }, sorted(all.filter((e) => ['e001', 'e007'].includes(e.name)), 'name')));
  test('negated', () => same({ ...filter({ $not: { isProduction: true } }), sort: 'name' }, sorted(all.filter((e) => !e.isProduction), 'name')));
  test('null', () => same({ ...filter({ autoPromoteFrom: null }), sort: 'createdAt' }, all, 100));
  test('none matches', () => same({ name: 'nobody' }, []));
});

describe('by more than facets', () => {
  test('a number', () => same({ requiredApprovals: '3', sort: 'createdAt' }, all.filter((e) => e.requiredApprovals === 3)));
  test('a range beside a facet', () => same({ ...filter({ orderIndex: { $gte: 20, $lt: 90 } }), isProduction: 'false', sort: 'orderIndex' },
    sorted(all.filter((e) => e.orderIndex >= 20 && e.orderIndex < 90 && !e.isProduction), 'orderIndex')));
  test('texts', () => same({ ...filter({ $or: [{ displayName: { $startsWith: 'Shown 3' } }, { name: { $contains: '01' } }] }), sort: '-name' },
    sorted(all.filter((e) => e.displayName.startsWith('Shown 3') || e.name.includes('01')), '-name')));
  test('absence', () => same({ ...filter({ promotionPolicy: { $exists: true } }), sort: 'createdAt' }, all.filter((e) => e.promotionPolicy)));
  test('instants', () => same({ ...filter({ createdAt: { $lte: all[70].createdAt } }), sort: 'createdAt' },
    all.filter((e) => e.createdAt <= all[70].createdAt)));
  test('several fields in order', () => same({ ...filter({ orderIndex: { $gt: 5 } }), sort: '-name,createdAt' },
    sorted(all.filter((e) => e.orderIndex > 5), '-name'), 60));
  test('of one id', () => same({ id: all[3].id }, [all[3]]));
});

test('every fault of the query is named at once', async () => {
  const answer = await api.get(path, { query: {
    page: '0', pageSize: '101', sort: 'colour', filter: '{"nope":1}', colour: 'red', isProduction: 'maybe', includeState: '2',
  } });
  assert.equal(answer.status, 400);
  assert.equal(answer.code, 'VAL_FAILED');
  assert.deepEqual(answer.error.validationErrors.map((f) => `${f.field} ${f.code}`).sort(), [
    'filter.nope VAL_INVALID_FILTER', 'query.colour VAL_UNKNOWN_FIELD', 'query.includeState VAL_INVALID_TYPE',
    'query.isProduction VAL_INVALID_TYPE', 'query.page VAL_OUT_OF_RANGE', 'query.pageSize VAL_OUT_OF_RANGE',
    'query.sort VAL_INVALID_SORT',
  ]);
});

test('other faults of paging, each by itself', async () => {
  for (const [query, field] of [
    ['page=1.5', 'query.page'], ['page=', 'query.page'], ['page=1&page=2', 'query.page'], ['pageSize=0', 'query.pageSize'],
    ['pageSize=x', 'query.pageSize'], ['sort=', 'query.sort'], ['sort=name&sort=name', 'query.sort'],
    ['sort=name,name,name,name', 'query.sort'], ['sort=config', 'query.sort'], ['filter=%7B', 'filter'],
    ['filter=[]', 'filter'], ['filter=%7B%7D&filter=%7B%7D', 'query.filter'],
  ]) {
    const answer = await api.get(`${path}?${query}`);
    assert.equal(answer.status, 400, query);
    assert.deepEqual(answer.error.validationErrors.map((f) => f.field), [field], query);
  }
});

test('a page far behind the last is empty', async () => {
  const { body } = await api.get(path, { query: { page: '1000000000', isProduction: 'true' } });
  assert.deepEqual(body.data, []);
  assert.equal(body.meta.pagination.hasPrevious, true);
  assert.equal(body.meta.pagination.hasNext, false);
});

test('lists and totals follow every change', async () => {
  const one = all[5];
  const total = async (query) => (await api.get(path, { query })).body.meta.pagination.totalItems;
  const before = [await total({ isProduction: 'true' }), await total({ isProduction: 'false' })];
  const step = one.isProduction ? -1 : 1;
  await api.want(200, 'PATCH', `${path}/${one.id}`, { isProduction: !one.isProduction, name: 'renamed' });
  assert.deepEqual([await total({ isProduction: 'true' }), await total({ isProduction: 'false' })], [before[0] + step, before[1] - step]);
  assert.equal(await total({ name: one.name }), 0);
  assert.equal(await total({ name: 'renamed' }), 1);
  await api.want(200, 'PATCH', `${path}/${one.id}`, { isProduction: one.isProduction, name: one.name });
});

test('another tenant has lists of its own', async () => {
  const other = api.as(await s.makeKey('--tenant', 'other', '--role', 'admin'));
  assert.equal((await other.get(path)).body.meta.pagination.totalItems, 0);
  assert.equal((await other.get(`${path}/${all[0].id}`)).status, 404);
});

describe('with a limit on what may be looked at', () => {
  let narrow;
  before(async () => (narrow = (await s.addServer({ name: 'narrow', args: ['--workers', '1', '--list-examined', '60'] })).client(s.key)));
  const refused = async (query) => {
    const answer = await narrow.get(path, { query });
    assert.equal(answer.status, 422);
    assert.equal(answer.code, 'VAL_FILTER_TOO_BROAD');
    assert.equal(answer.error.details.limit, 60);
    assert.deepEqual(answer.error.details.indexedFields, ['name', 'requireSeparationOfDuties', 'autoPromoteFrom', 'isProduction']);
  };

  test('what the indexes answer is not limited', async () => {
    for (const query of [{}, { sort: '-name' }, { sort: 'createdAt', isProduction: 'false' }]) {
      const { status, body } = await narrow.get(path, { query });
      assert.equal(status, 200);
      assert.ok(body.meta.pagination.totalItems > 60);
    }
  });
  test('a filter that leaves too many is refused, and says what is indexed', async () => {
    await refused({ requiredApprovals: '3' });
    await refused({ requiredApprovals: '3', isProduction: 'false' });
    await refused({ sort: 'name,orderIndex' });
  });
  test('a facet that leaves few enough makes it possible', async () => {
    const few = all.filter((e) => e.isProduction);
    assert.ok(few.length <= 60);
    const { body } = await narrow.get(path, { query: { requiredApprovals: '3', isProduction: 'true', sort: 'name,orderIndex' } });
    assert.deepEqual(body.data.map((e) => e.id), sorted(few.filter((e) => e.requiredApprovals === 3), 'name').map((e) => e.id));
    const ordered = await narrow.get(path, { query: { isProduction: 'true', sort: '-orderIndex' } });
    assert.deepEqual(ordered.data.map((e) => e.id), sorted(few, '-orderIndex').slice(0, 20).map((e) => e.id));
  });
  test('a page near the beginning of an order is found by walking', async () => {
    const many = sorted(all.filter((e) => !e.isProduction), 'name');
    assert.ok(many.length > 60);
    const query = { isProduction: 'false', sort: 'name', pageSize: '10' };
    assert.deepEqual((await narrow.get(path, { query })).data.map((e) => e.id), many.slice(0, 10).map((e) => e.id));
    await refused({ ...query, page: '7' });
  });
});
