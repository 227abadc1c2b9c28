-- commit: checks, then writes, at once.
--
-- Plan: {tenant, checks, writes}. A check is {verb, code, label, ...}, a write {verb, ...}. In place of a long text
-- there may be its number among the arguments behind the plan. A commit that was refused answers {0, now, epoch,
-- commits, code, label, found}, one that was made {1, now, epoch, commits, seqs, audit seq, dropped, claim}.

local CHUNK, NOTHING = 2048, {}

-- A document as this commit sees it so far.
local function document(x, kind, id)
  local name = kind .. ':' .. id
  local d = x.documents[name]
  if d then
    return d
  end
  local key = x.p .. 'd:' .. x.tenant .. ':' .. name
  local h, refusal = read('HMGET', key, 'r', 'o', 'x', 'ik')
  if refusal then
    return nil, refusal
  end
  d = { key = key, kind = kind, id = id, revision = tonumber(h[1] or 0), ordinal = tonumber(h[2] or 0) }
  d.index = h[3] and cmsgpack.unpack(h[3]) or { {}, {}, {}, {} }
  d.answered = h[4] or nil
  x.part.types[key] = 'hash'
  x.documents[name] = d
  return d
end

-- The index of a document is {facets, numbers, texts, uniques}. Its change is worked out while checking, in x.facets,
-- x.sorted and x.uniques, and only what differs is looked at and written.

local function index_key(x, letter, kind, name)
  return x.p .. letter .. ':' .. x.tenant .. ':' .. kind .. ':' .. name
end

-- Sets or clears the ordinal's bit in a facet; each chunk is read once and written once. A refusal or nil.
local function set_bit(x, key, ordinal, on)
  local number, bit_number = int(floor(ordinal / CHUNK)), ordinal % CHUNK
  local name = number .. key
  local c = x.facets[name]
  if not c then
    local bits, refusal = read('HGET', key, number)
    if refusal then
      return refusal
    end
    c = { key = key, number = number, bits = bits or '', changed = false }
    x.facets[name] = c
  end
  local at, mask = floor(bit_number / 8), 2 ^ (bit_number % 8)
  local old = byte(c.bits, at + 1) or 0
  local new = on and bit.bor(old, mask) or bit.band(old, bit.bnot(mask))
  if new == old then
    return nil
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
  for _, c in pairs(x.facets) do
    if c.changed and c.bits == '' then
      call('HDEL', c.key, c.number)
    elseif c.changed then
      call('HSET', c.key, c.number, c.bits)
    end
  end
end

local function set_of(list)
  local set = {}
  for _, v in ipairs(list) do
    set[v] = true
  end
  return set
end

local function change_facets(x, d, ordinal, new)
  local was, is = set_of(d.index[1]), set_of(new[1])
  local refusal
  for _, facet in ipairs(d.index[1]) do
    if not is[facet] then
      refusal = refusal or set_bit(x, index_key(x, 'f', d.kind, facet), ordinal, false)
    end
  end
  for _, facet in ipairs(new[1]) do
    if not was[facet] then
      refusal = refusal or set_bit(x, index_key(x, 'f', d.kind, facet), ordinal, true)
    end
  end
  return refusal
end

-- The sorted sets as {field, member, score} by field: a number is the score of the id, a text is part of the member.
local function sorted_of(d, index)
  local set = {}
  for _, pair in ipairs(index[2]) do
    set[pair[1]] = { pair[1], d.id, pair[2] }
  end
  for _, pair in ipairs(index[3]) do
    set[pair[1]] = { pair[1], pair[2] .. '\0' .. d.id, '0' }
  end
  return set
end

local function change_sorted(x, d, new)
  local was, is = sorted_of(d, d.index), sorted_of(d, new)
  for field, old in pairs(was) do
    if not is[field] or is[field][2] ~= old[2] then
      local key = index_key(x, 'z', d.kind, field)
      local refusal = typed(x.part, 'zset', key)
      if refusal then
        return refusal
      end
      x.sorted[#x.sorted + 1] = { 'ZREM', key, old[2] }
    end
  end
  for field, entry in pairs(is) do
    local old = was[field]
    if not old or old[2] ~= entry[2] or old[3] ~= entry[3] then
      local key = index_key(x, 'z', d.kind, field)
      local refusal = typed(x.part, 'zset', key)
      if refusal then
        return refusal
      end
      x.sorted[#x.sorted + 1] = { 'ZADD', key, entry[3], entry[2] }
    end
  end
end

local function write_sorted(x)
  for _, command in ipairs(x.sorted) do
    call(unpack(command))
  end
end

-- Who has a unique value, as this commit sees it so far: {is, was}, with false for nobody; or nil and a refusal.
local function holder(x, key, value)
  local name = key .. '\0' .. value
  local held = x.uniques[name]
  if held then
    return held
  end
  local id, refusal = read('HGET', key, value)
  if refusal then
    return nil, refusal
  end
  held = { key = key, value = value, is = id, was = id }
  x.uniques[name] = held
  return held
end

-- The old values become free, the new ones must be. An entry is {name, value, code, label}.
local function change_uniques(x, d, new)
  for _, unique in ipairs(d.index[4]) do
    local held, refusal = holder(x, index_key(x, 'u', d.kind, unique[1]), unique[2])
    if refusal then
      return refusal
    end
    if held.is == d.id then
      held.is = false
    end
  end
  for _, unique in ipairs(new[4]) do
    local held, refusal = holder(x, index_key(x, 'u', d.kind, unique[1]), unique[2])
    if refusal then
      return refusal
    end
    if held.is and held.is ~= d.id then
      return { unique[3], unique[4], held.is }
    end
    held.is = d.id
  end
end

local function write_uniques(x)
  for _, held in pairs(x.uniques) do
    if held.is and held.is ~= held.was then
      call('HSET', held.key, held.value, held.is)
    elseif held.was and not held.is then
      call('HDEL', held.key, held.value)
    end
  end
end

local function change_index(x, d, new)
  local refusal = change_uniques(x, d, new) or change_facets(x, d, d.ordinal, new) or change_sorted(x, d, new)
  d.index = new
  return refusal
end

-- The same for a document that has none yet: all of it is new.
local function add_sorted(x, d, field, score, member)
  local key = index_key(x, 'z', d.kind, field)
  x.sorted[#x.sorted + 1] = { 'ZADD', key, score, member }
  return typed(x.part, 'zset', key)
end

local function add_index(x, d, new)
  local refusal = change_uniques(x, d, new)
  for _, facet in ipairs(new[1]) do
    refusal = refusal or set_bit(x, index_key(x, 'f', d.kind, facet), d.ordinal, true)
  end
  for _, pair in ipairs(new[2]) do
    refusal = refusal or add_sorted(x, d, pair[1], pair[2], d.id)
  end
  for _, pair in ipairs(new[3]) do
    refusal = refusal or add_sorted(x, d, pair[1], '0', pair[2] .. '\0' .. d.id)
  end
  d.index = new
  return refusal
end

local function same_slot(x, key)
  if sub(key, 1, 6) ~= x.p then
    return { WRONG, 'slot', key }
  end
end

local function read_ours(x, command, key, ...)
  local refusal = same_slot(x, key)
  if refusal then
    return nil, refusal
  end
  return read(command, key, ...)
end

-- Puts the text in the place of its number.
local function have_text(x, w, at)
  local v = w[at]
  if type(v) == 'number' then
    w[at] = x.args[v + 1]
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
  local found, refusal = read_ours(x, 'HGET', c[4], c[5])
  if refusal then
    return refusal
  end
  if found ~= c[6] then
    return { c[2], c[3], found }
  end
end

function checks.unique(x, c)
  local found, refusal = read_ours(x, 'HGET', c[4], c[5])
  if refusal then
    return refusal
  end
  if found and found ~= c[6] then
    return { c[2], c[3], found }
  end
end

function checks.most(x, c)
  local refusal = same_slot(x, c[4])
  if refusal then
    return refusal
  end
  local n = pcall('ZCARD', c[4]) -- most are sorted sets, and written to next
  if type(n) ~= 'table' then
    x.part.types[c[4]] = 'zset'
  else
    local kind = call('TYPE', c[4]).ok
    n = SIZE[kind] and call(SIZE[kind], c[4]) or 0
  end
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

-- The ordinal for a new document of a kind.
local function next_ordinal(x, w, kind)
  w.last_key, w.order_key = x.p .. 'n:' .. x.tenant .. ':' .. kind, x.p .. 'o:' .. x.tenant .. ':' .. kind
  local last, refusal = x.ordinals[w.last_key], nil
  if not last then
    last, refusal = counter(w.last_key)
    refusal = refusal or typed(x.part, 'zset', w.order_key)
    if refusal then
      return nil, refusal
    end
  end
  x.ordinals[w.last_key] = last + 1
  return last + 1
end

-- An idempotency record may say "the document as it stands" (the document's field ik names it). Before the document
-- moves on, its text goes there. A refusal or nil.
local function leave_answer(d, w)
  local key = d.answered
  if not key then
    return nil
  end
  local h, refusal = read('HMGET', key, 'state', 'kind', 'id', 'revision')
  if refusal then
    return refusal
  end
  d.answered, w.forget = nil, true
  if h[1] == 'done' and h[2] == d.kind and h[3] == d.id and tonumber(h[4]) == d.revision then
    w.answered = key
  end
end

local function write_answer(w)
  if w.answered then
    call('HSET', w.answered, 'data', call('HGET', w.d.key, 'j'))
  end
  if w.forget then
    call('HDEL', w.d.key, 'ik')
  end
end

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
  local change = change_index
  if d.revision == 0 then
    d.ordinal, refusal = next_ordinal(x, w, d.kind)
    change = add_index
  end
  refusal = refusal or leave_answer(d, w)
  have_text(x, w, 6)
  w.d, w.ordinal = d, d.ordinal
  d.revision, d.text = w[4], w[6]
  if w[7] then
    refusal = refusal or change(x, d, cmsgpack.unpack(w[7]))
  end
  return refusal
end

-- Fields of one hash that follow each other in a plan are written at once.
local function write_fields(x)
  local fields = x.fields
  x.fields = false
  if fields then
    call('HSET', fields.key, unpack(fields))
  end
end

-- Those that are still to be written, when they are of this hash.
local function fields_of(x, key)
  if x.fields and x.fields.key ~= key then
    write_fields(x)
  end
  return x.fields
end

function writes.put(x, w)
  local key, ordinal = w.d.key, int(w.ordinal)
  write_answer(w)
  local before = fields_of(x, key)
  local fields = { 'j', w[6], 'r', int(w[4]), 'sv', int(w[5]), 'o', ordinal, key = key }
  local n = 8
  for i, v in ipairs(before or NOTHING) do
    fields[n + i] = v
  end
  n, x.fields = #fields, fields
  if w[7] then
    fields[n + 1], fields[n + 2], n = 'x', w[7], n + 2
  end
  if w[8] then
    fields[n + 1], fields[n + 2], n = 's', w[8], n + 2
  end
  if w.d.answered then
    fields[n + 1], fields[n + 2], w.d.named = 'ik', w.d.answered, true
  end
  write_fields(x)
  if w.order_key then
    call('SET', w.last_key, ordinal)
    call('ZADD', w.order_key, ordinal, w.d.id)
  end
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
  w.d, w.order_key = d, x.p .. 'o:' .. x.tenant .. ':' .. d.kind
  refusal = leave_answer(d, w)
  d.revision = 0
  return refusal or typed(x.part, 'zset', w.order_key) or change_index(x, d, { {}, {}, {}, {} })
end

function writes.delete(_, w)
  write_answer(w)
  call('DEL', w.d.key)
  call('ZREM', w.order_key, w.d.id)
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
  have_text(x, w, 3)
  add_frame(x.part, ch, w[3])
end

function writes.event() end -- all of a channel's together, at the end

-- {channel, channel, entries to keep, ttl, window}
function needs.channel(x, w)
  local ch, refusal = channel(x, w[2])
  if refusal then
    return refusal
  end
  ch.keep, ch.window = w[3], w[5]
  if w[4] ~= 0 then
    ch.ttl = w[4]
  end
end

function writes.channel() end

-- {audit, json}
function needs.audit(x, w)
  if not x.audit then
    local refusal
    x.audit = { key = x.p .. 'a:' .. x.tenant, seq_key = x.p .. 'an:' .. x.tenant, entries = {} }
    x.audit.last, refusal = counter(x.audit.seq_key)
    if refusal then
      return refusal
    end
    x.audit.marks = x.p .. 'ad'
    x.audit.marked, refusal = read('ZSCORE', x.audit.marks, x.tenant)
    if refusal then
      return refusal
    end
  end
  have_text(x, w, 2)
  x.audit.entries[#x.audit.entries + 1] = w[2]
end

function writes.audit() end -- before all others

-- The first write of all: whether the stream takes the first entry, behind what it has, is not looked at before. A
-- refusal or nil. The tenant stands among those with unsealed entries until the sealer takes it away.
local function write_audit(x)
  local a = x.audit
  for i, entry in ipairs(a.entries) do
    local added = pcall('XADD', a.key, int(a.last + i) .. '-0', 'j', entry, 't', x.now_text)
    if type(added) == 'table' then
      return { WRONG, string.find(added.err, 'WRONGTYPE', 1, true) and 'type' or 'stream', a.key }
    end
  end
  a.last = a.last + #a.entries
  call('INCRBY', a.seq_key, #a.entries)
  if not a.marked then
    call('ZADD', a.marks, x.now_text, x.tenant)
  end
end

local function need_run(x, w, kind)
  w.k = run_keys(x.part, x.tenant, w[2], kind)
  return check_run(x.part, w.k)
end

-- {inbox, run, id or '', entry, kind}
function needs.inbox(x, w)
  have_text(x, w, 4)
  return need_run(x, w, w[5])
end

function writes.inbox(x, w)
  local k = w.k
  if w[3] ~= '' then
    if call('ZADD', k.seen, 'NX', x.now_text, w[3]) == 0 then
      x.dropped = x.dropped + 1
      return
    end
    local known = call('ZCARD', k.seen)
    if known > 1000 then
      call('ZREMRANGEBYRANK', k.seen, '0', int(known - 1001))
    end
  end
  call('RPUSH', k.inbox, w[4])
  call('ZADD', k.dirty, 'NX', x.now_text, k.member)
end

-- {claim, run, owner, lease ms, kind}
function needs.claim(x, w)
  return need_run(x, w, w[5])
end

function writes.claim(x, w)
  x.last = function()
    return claim(x.part, w.k, w[3], w[4])
  end
end

-- {drained, run, token, consumed, lease ms, kind}
function needs.drained(x, w)
  local refusal = need_run(x, w, w[6])
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
    call('LTRIM', k.inbox, int(w[4]), '-1')
  end
  x.last = function()
    local left = call('LLEN', k.inbox)
    if left == 0 then
      call('HSET', k.lease, 'until', '0')
      call('ZREM', k.dirty, k.member)
      return { 0, w[3], 0, false, false, 0 }
    end
    local till = x.now + w[5]
    call('HSET', k.lease, 'until', int(till))
    call('ZADD', k.dirty, x.now_text, k.member)
    return { 1, w[3], till, false, call('LRANGE', k.inbox, '0', '99'), left }
  end
end

-- {revoked}
function needs.revoked() end

function writes.revoked(x)
  call('PUBLISH', x.p .. 'revoked', call('HINCRBY', x.part.meta, 'revoked', 1))
end

-- {idempotency, key, owner or false, keep ms, names and values, kind or false, id, revision, its text, or false: this
-- commit puts it}
function needs.idempotency(x, w)
  local h, refusal = read_ours(x, 'HMGET', w[2], 'state', 'owner', 'until')
  if refusal then
    return refusal
  end
  local free = not h[1] or h[1] == 'claimed' and tonumber(h[3] or 0) <= x.now
  if w[3] and (not h[1] or h[2] ~= w[3]) or not w[3] and not free then -- a draft is done, and has its owner still
    return { BUSY, 'idempotency', h[1] }
  end
  w.known = h[1]
  have_text(x, w, 9)
  if w[6] then
    local d
    d, refusal = document(x, w[6], w[7])
    if refusal then
      return refusal
    end
    if d.revision == w[8] and not d.answered then
      d.answered, w.d = w[2], d
    else
      w[9] = w[9] or d.text
    end
  end
end

function writes.idempotency(x, w)
  if w.known then
    call('HDEL', w[2], 'owner', 'until', 'data')
  end
  if w.d then
    call('HSET', w[2], 'state', 'done', 'kind', w[6], 'id', w[7], 'revision', int(w[8]), unpack(w[5]))
  elseif w[6] then
    call('HSET', w[2], 'state', 'done', 'revision', int(w[8]), 'data', w[9], unpack(w[5]))
  else
    call('HSET', w[2], 'state', 'done', unpack(w[5]))
  end
  if w.d and not w.d.named then
    call('HSET', w.d.key, 'ik', w[2])
  end
  call('PEXPIRE', w[2], w[4])
end

-- {hset, key, field, value or false}
function needs.hset(x, w)
  have_text(x, w, 4)
  return typed(x.part, 'hash', w[2])
end

function writes.hset(x, w)
  if w[4] then
    local fields = fields_of(x, w[2])
    if fields then
      local n = #fields
      fields[n + 1], fields[n + 2] = w[3], w[4]
    else
      x.fields = { w[3], w[4], key = w[2] }
    end
  else
    write_fields(x)
    call('HDEL', w[2], w[3])
  end
end

-- {zset, key, member, score, or false: the present time}
function needs.zset(x, w)
  return typed(x.part, 'zset', w[2])
end

function writes.zset(x, w)
  call('ZADD', w[2], w[4] or x.now_text, w[3])
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

-- {expire, key, ttl, negative: never}
needs.expire = needs.remove

function writes.expire(x, w)
  if w[3] < 0 then
    call('PERSIST', w[2])
  else
    call('PEXPIRE', w[2], w[3])
  end
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
    part = part, args = args, p = part.p, now = part.now, now_text = part.now_text, tenant = plan[1],
    documents = {}, facets = {}, sorted = {}, uniques = {}, ordinals = {}, channels = {}, order = {}, dropped = 0, audit = false,
    fields = false,
  }
  local refusal = refusal_of(x, plan) or x.audit and write_audit(x)
  if refusal then
    return { 0, part.now, part.epoch, part.commits, refusal[1], refusal[2], refusal[3] }
  end
  for _, w in ipairs(plan[3]) do
    local verb = w[1]
    if verb ~= 'hset' and verb ~= 'put' then
      write_fields(x)
    end
    writes[verb](x, w)
  end
  write_fields(x)
  write_facets(x)
  write_sorted(x)
  write_uniques(x)
  local seqs = {}
  for i, ch in ipairs(x.order) do
    flush_channel(ch, part)
    seqs[i] = ch.last
  end
  local claimed = x.last and x.last() or false
  leave(part)
  return { 1, part.now, part.epoch, part.commits, seqs, x.audit and x.audit.last or 0, x.dropped, claimed }
end

redis.register_function('commit_1', commit)
redis.register_function { function_name = 'finish_1', callback = commit, flags = { 'allow-oom' } }
