#!lua name=slipway
-- abi 2
--
-- The store functions of Slipway. The files of server/store are joined in the order of library.c and loaded as one
-- library; this one comes first. Each function takes one key, its partition's `{pNN}:meta`, and one MessagePack plan;
-- all keys it touches are named from the partition's hash tag, so they are in one slot.
--
-- A function does not roll back. So each has two parts: checks, which read and may refuse, and then writes, which cannot
-- fail: the type of every key, every number and every stream's end has been looked at before the first write.

-- Neither redis.call nor Lua's own libraries are there while a library is loaded: see enter.
local call, pcall, floor, max, min, byte, char, sub, rep, format, concat

-- Whole numbers as text. What is given to Redis as a number goes through "%.17g", which takes five times as long.
local function int(n)
  return format('%d', n)
end

-- What a refusal carries: a code of the caller's, or one of these words.
local WRONG, CONFLICT, EXISTS, ABSENT, BUSY = 'wrong', 'conflict', 'exists', 'absent', 'busy'

-- A partition as it stands. Its clock is Redis' and never goes back.
local function enter(keys)
  if not call then
    floor, max, min = math.floor, math.max, math.min
    byte, char, sub, rep, format = string.byte, string.char, string.sub, string.rep, string.format
    call, pcall, concat = redis.call, redis.pcall, table.concat
  end
  local meta = keys[1]
  local m = call('HMGET', meta, 'epoch', 'commits', 'clock', 'revoked')
  local time = call('TIME')
  local now = max(time[1] * 1000 + floor(time[2] / 1000), tonumber(m[3] or 0))
  return {
    meta = meta,
    p = sub(meta, 1, 6), -- "{p07}:"
    now = now,
    now_text = int(now),
    epoch = tonumber(m[1] or 0),
    commits = tonumber(m[2] or 0),
    revoked = tonumber(m[4] or 0),
    types = {},
  }
end

-- Notes that something was written.
local function leave(part)
  part.commits = part.commits + 1
  if part.epoch == 0 then
    part.epoch = part.now
    call('HSET', part.meta, 'clock', part.now_text, 'commits', int(part.commits), 'epoch', part.now_text, 'abi', '1')
  else
    call('HSET', part.meta, 'clock', part.now_text, 'commits', int(part.commits))
  end
end

local SIZE = { hash = 'HLEN', zset = 'ZCARD', list = 'LLEN', stream = 'XLEN', string = 'STRLEN', set = 'SCARD' }

-- A refusal when the key is in another partition or of another type; else nil, and its size is known.
local function typed(part, kind, key)
  if part.types[key] == kind then
    return nil
  end
  if sub(key, 1, 6) ~= part.p then
    return { WRONG, 'slot', key }
  end
  local size = pcall(SIZE[kind], key)
  if type(size) == 'table' then
    return { WRONG, 'type', key }
  end
  part.types[key] = kind
  return nil
end

-- What a command reads from a key of ours, or nil and a refusal when the key is of another type.
local function read(command, key, ...)
  local answer = pcall(command, key, ...)
  if type(answer) == 'table' and answer.err then
    return nil, { WRONG, 'type', key }
  end
  return answer
end

-- The counter in a string key, or nil and a refusal.
local function counter(key)
  local text, refusal = read('GET', key)
  if refusal then
    return nil, refusal
  end
  local n = tonumber(text or 0)
  if not n or n < 0 or n ~= floor(n) or n > 2 ^ 52 then
    return nil, { WRONG, 'number', key }
  end
  return n
end

-- 2026-11-28T17:50:00.000Z
local function iso(ms)
  local s = floor(ms / 1000)
  local days, rest = floor(s / 86400), s % 86400
  days = days + 719468
  local era = floor(days / 146097)
  local doe = days - era * 146097
  local yoe = floor((doe - floor(doe / 1460) + floor(doe / 36524) - floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + floor(yoe / 4) - floor(yoe / 100))
  local mp = floor((5 * doy + 2) / 153)
  local month = mp < 10 and mp + 3 or mp - 9
  return format('%04d-%02d-%02dT%02d:%02d:%02d.%03dZ', yoe + era * 400 + (month <= 2 and 1 or 0), month,
    doy - floor((153 * mp + 2) / 5) + 1, floor(rest / 3600), floor(rest / 60) % 60, rest % 60, ms % 1000)
end

-- A stream whose entries are numbered without holes: its name and the key of its last number.
local function open_stream(key, seq_key)
  local last, refusal = counter(seq_key)
  local beyond
  if not refusal then
    beyond, refusal = read('XRANGE', key, '(' .. int(last) .. '-0', '+', 'COUNT', '1')
  end
  if refusal then
    return nil, refusal
  end
  if #beyond > 0 then
    return nil, { WRONG, 'stream', key }
  end
  return { key = key, seq_key = seq_key, last = last, pieces = {}, count = 0 }
end

local function open_channel(part, tenant, channel)
  return open_stream(part.p .. 'e:' .. tenant .. ':' .. channel, part.p .. 'es:' .. tenant .. ':' .. channel)
end

-- Queues a frame: its sequence, its time, `rest`. The pieces are joined once, for a joined string costs its hash.
local function add_frame(part, ch, rest, log_seq)
  part.stamp = part.stamp or ',"timestamp":"' .. iso(part.now) .. '",'
  local pieces = ch.pieces
  local n = #pieces
  pieces[n + 1] = ch.count == 0 and '{"seq":' or '\n{"seq":'
  ch.count = ch.count + 1
  pieces[n + 2] = int(ch.last + ch.count)
  pieces[n + 3] = part.stamp
  if log_seq then
    pieces[n + 4], pieces[n + 5], pieces[n + 6], pieces[n + 7] = '"logSeq":', int(log_seq), ',', rest
  else
    pieces[n + 4] = rest
  end
end

-- Takes away what is older than the channel's window; two entries a write keep up with one that comes.
local function trim_window(part, ch)
  local oldest = iso(part.now - ch.window)
  for _, entry in ipairs(call('XRANGE', ch.key, '-', '+', 'COUNT', 2)) do
    local stamp = string.match(entry[2][4], '^{"seq":%d+,"timestamp":"([^"]+)"')
    local last = tonumber(string.match(entry[1], '^%d+'))
    if stamp and stamp < oldest and last < ch.last then
      call('XTRIM', ch.key, 'MINID', int(last + 1) .. '-0')
    end
  end
end

-- Writes what is queued as one entry and publishes it.
local function flush_channel(ch, part)
  if ch.count > 0 then
    local first, last = int(ch.last + 1), int(ch.last + ch.count)
    local body = concat(ch.pieces)
    call('XADD', ch.key, last .. '-0', 'f', first, 'b', body)
    call('INCRBY', ch.seq_key, int(ch.count))
    call('PUBLISH', ch.key, first .. ' ' .. last .. '\n' .. body)
    ch.last = ch.last + ch.count
    ch.pieces, ch.count = {}, 0
  end
  if ch.keep and ch.keep > 0 then
    call('XTRIM', ch.key, 'MAXLEN', ch.keep)
  end
  if part and ch.window and ch.window > 0 then
    trim_window(part, ch)
  end
  if ch.ttl and ch.ttl > 0 then
    call('PEXPIRE', ch.key, ch.ttl)
    call('PEXPIRE', ch.seq_key, ch.ttl)
  elseif ch.ttl and ch.ttl < 0 then
    call('PERSIST', ch.key)
    call('PERSIST', ch.seq_key)
  end
end

-- Runs and their leases. A caller from before there were kinds names none.
local function run_keys(part, tenant, run, kind)
  local p = part.p
  local name = tenant .. ':' .. (kind or 'run') .. ':' .. run
  return {
    member = name,
    document = p .. 'd:' .. name,
    lease = p .. 'le:' .. tenant .. ':' .. run,
    inbox = p .. 'in:' .. tenant .. ':' .. run,
    seen = p .. 'ids:' .. tenant .. ':' .. run,
    dirty = p .. 'dirty',
  }
end

local function check_run(part, k)
  return typed(part, 'hash', k.lease) or typed(part, 'list', k.inbox) or typed(part, 'hash', k.document)
    or typed(part, 'zset', k.seen) or typed(part, 'zset', k.dirty)
end

-- Takes a free lease and answers what its holder needs: {held, token, until, run, entries, waiting}.
local function claim(part, k, owner, ms)
  local le = call('HMGET', k.lease, 'token', 'until')
  local token, till = tonumber(le[1] or 0), tonumber(le[2] or 0)
  if till > part.now then
    return { 0, token, till, false, false, call('LLEN', k.inbox) }
  end
  token, till = token + 1, part.now + ms
  call('HSET', k.lease, 'token', int(token), 'owner', owner, 'until', int(till))
  return { 1, token, till, call('HGETALL', k.document), call('LRANGE', k.inbox, '0', '99'), call('LLEN', k.inbox) }
end
