-- commit: checks, then writes, at once.
--
-- Plan: {tenant, checks, writes}. A check is {verb, code, label, ...}, a write {verb, ...}. A commit that was refused answers
-- {0, now, epoch, commits, code, label, found}, one that was made {1, now, epoch, commits, seqs, audit seq, dropped, claim}.

local CHUNK = 2048

-- A document as this commit sees it so far.
local function document(x, kind, id)
  local name = kind .. ':' .. id
  local d = x.documents[name]
  if not d then
    local key = x.p .. 'd:' .. x.tenant .. ':' .. name
    local refusal = typed(x.part, 'hash', key)
    if refusal then
      return nil, refusal
    end
    local h = call('HMGET', key, 'r', 'o', 'x')
    d = { key = key, kind = kind, id = id, revision = tonumber(h[1] or 0), ordinal = tonumber(h[2] or 0) }
    d.index = h[3] and cmsgpack.unpack(h[3]) or { {}, {}, {}, {} }
    x.documents[name] = d
  end
  return d
end

-- The chunk of a facet that holds the ordinal, read once and written once.
local function chunk_of(x, key, ordinal)
  local facet = x.facets[key]
  local number = floor(ordinal / CHUNK)
  if not facet then
    facet = {}
    x.facets[key] = facet
  end
  local c = facet[number]
  if not c then
    c = { bits = call('HGET', key, number) or '' }
    facet[number] = c
  end
  return c
end

local function set_bit(x, key, ordinal, on)
  local c = chunk_of(x, key, ordinal)
  local bit_number = ordinal % CHUNK
  local at, mask = floor(bit_number / 8), 2 ^ (bit_number % 8)
  local old = byte(c.bits, at + 1) or 0
  local new = on and bit.bor(old, mask) or bit.band(old, bit.bnot(mask))
  if new == old then
    return
  end
  if at >= #c.bits then
    c.bits = c.bits .. rep('\0', at - #c.bits) .. char(new)
  else
    c.bits = sub(c.bits, 1, at) .. char(new) .. sub(c.bits, at + 2)
  end
  if new == 0 then
    c.bits = string.gsub(c.bits, '%z+$', '')
  end
  c.changed = true
end

local function write_facets(x)
  for key, facet in pairs(x.facets) do
    for number, c in pairs(facet) do
      if c.changed and c.bits == '' then
        call('HDEL', key, number)
      elseif c.changed then
        call('HSET', key, number, c.bits)
      end
    end
  end
end

-- Who has a unique value, as this commit sees it so far: {is, was}, with false for nobody.
local function holder(x, key, value)
  local claims = x.uniques[key]
  if not claims then
    claims = {}
    x.uniques[key] = claims
  end
  local claim_of = claims[value]
  if not claim_of then
    local id = call('HGET', key, value)
    claim_of = { is = id, was = id }
    claims[value] = claim_of
  end
  return claim_of
end

local function facet_key(x, kind, facet)
  return x.p .. 'f:' .. x.tenant .. ':' .. kind .. ':' .. facet
end

local function sorted_key(x, kind, field)
  return x.p .. 'z:' .. x.tenant .. ':' .. kind .. ':' .. field
end

local function unique_key(x, kind, suffix)
  return x.p .. 'u:' .. x.tenant .. ':' .. kind .. ':' .. suffix
end

-- The types of all keys an index names.
local function check_index(x, kind, index)
  local part = x.part
  local refusal
  for _, facet in ipairs(index[1]) do
    refusal = refusal or typed(part, 'hash', facet_key(x, kind, facet))
  end
  for _, pair in ipairs(index[2]) do
    refusal = refusal or typed(part, 'zset', sorted_key(x, kind, pair[1]))
  end
  for _, pair in ipairs(index[3]) do
    refusal = refusal or typed(part, 'zset', sorted_key(x, kind, pair[1]))
  end
  for _, unique in ipairs(index[4]) do
    refusal = refusal or typed(part, 'hash', unique_key(x, kind, unique[1]))
  end
  return refusal
end

-- Unique values: the old ones become free, the new ones must be. An entry is {suffix, value, code, label}.
local function claim_uniques(x, d, index)
  for _, unique in ipairs(d.index[4]) do
    local held = holder(x, unique_key(x, d.kind, unique[1]), unique[2])
    if held.is == d.id then
      held.is = false
    end
  end
  for _, unique in ipairs(index[4]) do
    local held = holder(x, unique_key(x, d.kind, unique[1]), unique[2])
    if held.is and held.is ~= d.id then
      return { unique[3], unique[4], held.is }
    end
    held.is = d.id
  end
  return nil
end

local function set_of(list)
  local set = {}
  for _, v in ipairs(list) do
    set[v] = true
  end
  return set
end

local function text_member(pair, id)
  return pair[2] .. '\0' .. id
end

-- Moves the stored index of a document from `old` to `new`.
local function write_index(x, d, ordinal, old, new)
  local was, is = set_of(old[1]), set_of(new[1])
  for facet in pairs(was) do
    if not is[facet] then
      set_bit(x, facet_key(x, d.kind, facet), ordinal, false)
    end
  end
  for facet in pairs(is) do
    if not was[facet] then
      set_bit(x, facet_key(x, d.kind, facet), ordinal, true)
    end
  end
  local kept = {}
  for _, pair in ipairs(new[2]) do
    kept[pair[1]] = true
    call('ZADD', sorted_key(x, d.kind, pair[1]), pair[2], d.id)
  end
  for _, pair in ipairs(old[2]) do
    if not kept[pair[1]] then
      call('ZREM', sorted_key(x, d.kind, pair[1]), d.id)
    end
  end
  kept = {}
  for _, pair in ipairs(new[3]) do
    kept[pair[1]] = text_member(pair, d.id)
  end
  for _, pair in ipairs(old[3]) do
    if kept[pair[1]] ~= text_member(pair, d.id) then
      call('ZREM', sorted_key(x, d.kind, pair[1]), text_member(pair, d.id))
    end
  end
  for _, pair in ipairs(new[3]) do
    call('ZADD', sorted_key(x, d.kind, pair[1]), 0, text_member(pair, d.id))
  end
end

local function write_uniques(x)
  for key, claims in pairs(x.uniques) do
    for value, held in pairs(claims) do
      if held.is and held.is ~= held.was then
        call('HSET', key, value, held.is)
      elseif held.was and not held.is then
        call('HDEL', key, value)
      end
    end
  end
end

local function same_slot(x, key)
  if sub(key, 1, 6) ~= x.p then
    return { WRONG, 'slot', key }
  end
end

local checks = {}

function checks.revision(x, c)
  local d, refusal = document(x, c[4], c[5])
  if refusal then
    return refusal
  end
  if d.revision ~= c[6] then
    return { c[2], c[3], d.revision }
  end
end

function checks.exists(x, c)
  local refusal = same_slot(x, c[4])
  if refusal then
    return refusal
  end
  if call('EXISTS', c[4]) == 0 then
    return { c[2], c[3], false }
  end
end

function checks.absent(x, c)
  local refusal = same_slot(x, c[4])
  if refusal then
    return refusal
  end
  if call('EXISTS', c[4]) == 1 then
    return { c[2], c[3], false }
  end
end

function checks.field(x, c)
  local refusal = typed(x.part, 'hash', c[4])
  if refusal then
    return refusal
  end
  local found = call('HGET', c[4], c[5])
  if found ~= c[6] then
    return { c[2], c[3], found }
  end
end

function checks.unique(x, c)
  local refusal = typed(x.part, 'hash', c[4])
  if refusal then
    return refusal
  end
  local found = call('HGET', c[4], c[5])
  if found and found ~= c[6] then
    return { c[2], c[3], found }
  end
end

function checks.most(x, c)
  local refusal = same_slot(x, c[4])
  if refusal then
    return refusal
  end
  local kind = call('TYPE', c[4]).ok
  local n = kind ~= 'none' and SIZE[kind] and call(SIZE[kind], c[4]) or 0
  if n > c[5] then
    return { c[2], c[3], n }
  end
end

function checks.lease(x, c)
  local k = run_keys(x.part, x.tenant, c[4])
  local refusal = typed(x.part, 'hash', k.lease)
  if refusal then
    return refusal
  end
  local token = tonumber(call('HGET', k.lease, 'token') or 0)
  if token ~= c[5] then
    return { c[2], c[3], token }
  end
end

-- Each verb: what it needs checked, and how it is written once nothing can fail any more.
local needs, writes = {}, {}

-- {put, kind, id, revision, schema, json, index or false, sealed or false}
function needs.put(x, w)
  local d, refusal = document(x, w[2], w[3])
  if refusal then
    return refusal
  end
  if d.revision ~= w[4] - 1 then
    if w[4] == 1 then
      return { EXISTS, 'id', d.revision }
    end
    return { CONFLICT, 'revision', d.revision }
  end
  w.d, w.old = d, d.index
  w.new = w[7] and cmsgpack.unpack(w[7]) or d.index
  refusal = check_index(x, d.kind, w.old) or check_index(x, d.kind, w.new) or claim_uniques(x, d, w.new)
  if refusal then
    return refusal
  end
  if d.revision == 0 then
    local last_key, order_key = x.p .. 'n:' .. x.tenant .. ':' .. d.kind, x.p .. 'o:' .. x.tenant .. ':' .. d.kind
    if not x.ordinals[last_key] then
      x.ordinals[last_key], refusal = counter(x.part, last_key)
      refusal = refusal or typed(x.part, 'zset', order_key)
      if refusal then
        return refusal
      end
    end
    x.ordinals[last_key] = x.ordinals[last_key] + 1
    d.ordinal = x.ordinals[last_key]
    w.last_key, w.order_key = last_key, order_key
  end
  w.ordinal = d.ordinal
  d.revision, d.index = w[4], w.new
end

function writes.put(x, w)
  local d = w.d
  if w.order_key then
    call('SET', w.last_key, w.ordinal)
    call('ZADD', w.order_key, w.ordinal, d.id)
    call('HSET', d.key, 'j', w[6], 'r', w[4], 'sv', w[5], 'o', w.ordinal)
  else
    call('HSET', d.key, 'j', w[6], 'r', w[4], 'sv', w[5])
  end
  if w[7] then
    call('HSET', d.key, 'x', w[7])
  end
  if w[8] then
    call('HSET', d.key, 's', w[8])
  end
  write_index(x, d, w.ordinal, w.old, w.new)
end

-- {field, kind, id, field, value or false}
function needs.field(x, w)
  local d, refusal = document(x, w[2], w[3])
  if refusal then
    return refusal
  end
  if d.revision == 0 then
    return { ABSENT, 'id', 0 }
  end
  w.d = d
end

function writes.field(x, w)
  if w[5] then
    call('HSET', w.d.key, w[4], w[5])
  else
    call('HDEL', w.d.key, w[4])
  end
end

-- {delete, kind, id, revision or 0}
function needs.delete(x, w)
  local d, refusal = document(x, w[2], w[3])
  if refusal then
    return refusal
  end
  if d.revision == 0 then
    return { ABSENT, 'id', 0 }
  end
  if w[4] ~= 0 and w[4] ~= d.revision then
    return { CONFLICT, 'revision', d.revision }
  end
  w.d, w.old, w.ordinal = d, d.index, d.ordinal
  w.order_key = x.p .. 'o:' .. x.tenant .. ':' .. d.kind
  refusal = check_index(x, d.kind, w.old) or typed(x.part, 'zset', w.order_key)
    or claim_uniques(x, d, { {}, {}, {}, {} })
  d.revision, d.index = 0, { {}, {}, {}, {} }
  return refusal
end

function writes.delete(x, w)
  call('DEL', w.d.key)
  call('ZREM', w.order_key, w.d.id)
  write_index(x, w.d, w.ordinal, w.old, { {}, {}, {}, {} })
end

local function channel(x, name)
  local ch, refusal = x.channels[name], nil
  if not ch then
    ch, refusal = open_channel(x.part, x.tenant, name)
    if refusal then
      return nil, refusal
    end
    x.channels[name] = ch
    x.order[#x.order + 1] = ch
  end
  return ch
end

-- {event, channel, rest of the frame}
function needs.event(x, w)
  local ch, refusal = channel(x, w[2])
  if refusal then
    return refusal
  end
  add_frame(x.part, ch, w[3])
end

function writes.event() end -- all of a channel's together, at the end

-- {channel, channel, entries to keep, ttl}
function needs.channel(x, w)
  local ch, refusal = channel(x, w[2])
  if refusal then
    return refusal
  end
  ch.keep = w[3]
  if w[4] ~= 0 then
    ch.ttl = w[4]
  end
end

function writes.channel() end

-- {audit, json}
function needs.audit(x, w)
  if not x.audit then
    local refusal
    x.audit, refusal = open_stream(x.part, x.p .. 'a:' .. x.tenant, x.p .. 'an:' .. x.tenant)
    if refusal then
      return refusal
    end
    x.audit_first = x.audit.last + 1
  end
  x.audit.last = x.audit.last + 1
  w.seq = x.audit.last
end

function writes.audit(x, w)
  call('XADD', x.audit.key, format('%.0f', w.seq) .. '-0', 'j', w[2], 't', x.now)
  call('INCR', x.audit.seq_key)
end

local function need_run(x, w)
  w.k = run_keys(x.part, x.tenant, w[2])
  return check_run(x.part, w.k)
end

-- {inbox, run, id or '', entry}
needs.inbox = need_run

function writes.inbox(x, w)
  local k = w.k
  if w[3] ~= '' then
    if call('ZADD', k.seen, 'NX', x.now, w[3]) == 0 then
      x.dropped = x.dropped + 1
      return
    end
    local known = call('ZCARD', k.seen)
    if known > 1000 then
      call('ZREMRANGEBYRANK', k.seen, 0, known - 1001)
    end
  end
  call('RPUSH', k.inbox, w[4])
  call('ZADD', k.dirty, 'NX', x.now, k.member)
end

-- {claim, run, owner, lease ms}
needs.claim = need_run

function writes.claim(x, w)
  x.last = function()
    return claim(x.part, w.k, w[3], w[4])
  end
end

-- {drained, run, token, consumed, lease ms}
function needs.drained(x, w)
  local refusal = need_run(x, w)
  if refusal then
    return refusal
  end
  local token = tonumber(call('HGET', w.k.lease, 'token') or 0)
  if token ~= w[3] then
    return { CONFLICT, 'lease', token }
  end
end

function writes.drained(x, w)
  local k = w.k
  if w[4] > 0 then
    call('LTRIM', k.inbox, w[4], -1)
  end
  x.last = function()
    local left = call('LLEN', k.inbox)
    if left == 0 then
      call('HSET', k.lease, 'until', 0)
      call('ZREM', k.dirty, k.member)
      return { 0, w[3], 0, false, false, 0 }
    end
    local till = x.now + w[5]
    call('HSET', k.lease, 'until', till)
    call('ZADD', k.dirty, x.now, k.member)
    return { 1, w[3], till, false, call('LRANGE', k.inbox, 0, 99), left }
  end
end

-- {revoked}
function needs.revoked() end

function writes.revoked(x)
  call('PUBLISH', x.p .. 'revoked', call('HINCRBY', x.part.meta, 'revoked', 1))
end

-- {idempotency, key, owner, keep ms, names and values}
function needs.idempotency(x, w)
  local refusal = typed(x.part, 'hash', w[2])
  if refusal then
    return refusal
  end
  local h = call('HMGET', w[2], 'state', 'owner')
  if h[1] ~= 'claimed' or h[2] ~= w[3] then
    return { BUSY, 'idempotency', h[1] }
  end
end

function writes.idempotency(x, w)
  call('HSET', w[2], 'state', 'done', unpack(w[5]))
  call('HDEL', w[2], 'owner', 'until')
  call('PEXPIRE', w[2], w[4])
end

-- {hset, key, field, value or false}
function needs.hset(x, w)
  return typed(x.part, 'hash', w[2])
end

function writes.hset(x, w)
  if w[4] then
    call('HSET', w[2], w[3], w[4])
  else
    call('HDEL', w[2], w[3])
  end
end

-- {zset, key, member, score, or false: the present time}
function needs.zset(x, w)
  return typed(x.part, 'zset', w[2])
end

function writes.zset(x, w)
  call('ZADD', w[2], w[4] or x.now, w[3])
end

-- {zrem, key, member}
needs.zrem = needs.zset

function writes.zrem(x, w)
  call('ZREM', w[2], w[3])
end

-- {remove, key}
function needs.remove(x, w)
  return same_slot(x, w[2])
end

function writes.remove(x, w)
  call('DEL', w[2])
end

-- {expire, key, ttl}
needs.expire = needs.remove

function writes.expire(x, w)
  call('PEXPIRE', w[2], w[3])
end

-- The first thing that stands in the way, or nil.
local function refusal_of(x, plan)
  for _, c in ipairs(plan[2]) do
    local refusal = checks[c[1]](x, c)
    if refusal then
      return refusal
    end
  end
  for _, w in ipairs(plan[3]) do
    local refusal = needs[w[1]](x, w)
    if refusal then
      return refusal
    end
  end
end

local function commit(keys, args)
  local part = enter(keys)
  local plan = cmsgpack.unpack(args[1])
  local x = {
    part = part, p = part.p, now = part.now, tenant = plan[1],
    documents = {}, facets = {}, uniques = {}, ordinals = {}, channels = {}, order = {}, dropped = 0,
  }
  local refusal = refusal_of(x, plan)
  if refusal then
    return { 0, part.now, part.epoch, part.commits, refusal[1], refusal[2], refusal[3] }
  end
  for _, w in ipairs(plan[3]) do
    writes[w[1]](x, w)
  end
  write_facets(x)
  write_uniques(x)
  local seqs = {}
  for i, ch in ipairs(x.order) do
    flush_channel(ch)
    seqs[i] = ch.last
  end
  local claimed = x.last and x.last() or false
  leave(part)
  return { 1, part.now, part.epoch, part.commits, seqs, x.audit and x.audit.last or 0, x.dropped, claimed }
end

redis.register_function('commit_1', commit)
redis.register_function { function_name = 'finish_1', callback = commit, flags = { 'allow-oom' } }
