-- list: pages of documents, totals, facets. Changes nothing.
--
-- Plan, a map: t tenant, k kind, s source, f field, x texts, r reverse, o offset, c count, n ordinals, i ids, b bare, a
-- facets, e extra fields. Answers {now, epoch, commits, total, last ordinal, items, facets}; an item is {id, ordinal,
-- revision, schema, json, extra}, or false for one that is gone.

local function page_ids(plan, order_key, p)
  local s = plan.s
  if s == 'ids' then
    return plan.i
  elseif s == 'none' then
    return {}
  elseif s == 'ordinals' then
    local ids = {}
    for i, ordinal in ipairs(plan.n) do
      ids[i] = call('ZRANGEBYSCORE', order_key, int(ordinal), int(ordinal), 'LIMIT', '0', '1')[1] or false
    end
    return ids
  end
  local key = s == 'sorted' and p .. 'z:' .. plan.t .. ':' .. plan.k .. ':' .. plan.f or order_key
  local ids = call(plan.r and 'ZREVRANGE' or 'ZRANGE', key, int(plan.o), int(plan.o + plan.c - 1))
  if s == 'sorted' and plan.x then
    for i, member in ipairs(ids) do
      ids[i] = string.match(member, '([^%z]*)$')
    end
  end
  return ids
end

local function bare_items(ids, order_key)
  local items = {}
  for from = 1, #ids, 1000 do
    local to = min(from + 999, #ids)
    local ordinals = call('ZMSCORE', order_key, unpack(ids, from, to))
    for i = from, to do
      local ordinal = ordinals[i - from + 1]
      items[i] = ordinal and { ids[i], tonumber(ordinal), 0, 0, false, false } or false
    end
  end
  return items
end

local function full_items(plan, ids, p)
  local items, extra = {}, plan.e or {}
  for i, id in ipairs(ids) do
    items[i] = false
    if id then
      local h = call('HMGET', p .. 'd:' .. plan.t .. ':' .. plan.k .. ':' .. id, 'o', 'r', 'sv', 'j', unpack(extra))
      if h[2] then
        local more = {}
        for e = 1, #extra do
          more[e] = h[4 + e]
        end
        items[i] = { id, tonumber(h[1]), tonumber(h[2]), tonumber(h[3]), h[4], #extra > 0 and more }
      end
    end
  end
  return items
end

local function list(keys, args)
  local part = enter(keys)
  local plan = cmsgpack.unpack(args[1])
  local p = part.p
  local order_key = p .. 'o:' .. plan.t .. ':' .. plan.k
  local ids = page_ids(plan, order_key, p)
  local items = plan.b and bare_items(ids, order_key) or full_items(plan, ids, p)
  local facets = {}
  for i, facet in ipairs(plan.a or {}) do
    facets[i] = call('HGETALL', p .. 'f:' .. plan.t .. ':' .. plan.k .. ':' .. facet)
  end
  local last = tonumber(call('GET', p .. 'n:' .. plan.t .. ':' .. plan.k) or 0)
  return { part.now, part.epoch, part.commits, call('ZCARD', order_key), last, items, facets }
end

redis.register_function { function_name = 'list_1', callback = list, flags = { 'no-writes' } }
