-- admit: a credential, a charge to a rate, an idempotency key.
--
-- Plan, a map: c credential hash, o optional, a what it depends on beside its record's `of`, t tenant, u caller, w from
-- where a key is used, i tier, r rates {{limit, burst, hour, day, builds}, ...}, the last three optional and 0 where
-- there is none, n cost, b builds; h holder of credit, s what it used, g what it wants, f beside what it has; k {route,
-- key hash, fingerprint, owner, lock ms}.
-- Answers {verdict, now, epoch, commits, revoked, credential, limit, remaining, reset, burst, burst remaining, retry
-- after, replay, record, granted, user {id, roles, permissions}, tenant {suspended, networks, tier}, {limit, remaining,
-- reset of hour, day and builds}}.

local OK, UNKNOWN, REVOKED, EXPIRED, LIMITED, SUSPENDED, BUILDS = 0, 1, 2, 3, 4, 5, 6
-- How far a credential may be from the last of what it depends on.
local DEPTH = 3
local NO_KEY, CLAIMED, REPLAY, OTHER, IN_PROGRESS = 0, 1, 2, 3, 4
local WINDOW = 60000
-- Windows beside the minute: those of the clock, in UTC. A field of the rate holds "<which one> <count>".
local NONE, LONG = {}, { { 'h', 3600000 }, { 'd', 86400000 }, { 'b', 86400000 } }
-- Credit of a caller at any time: requests, and the parts of its limit and of its burst that they are at most. A grant
-- is over after so many ms, and nothing is granted any more once a tenth is left.
local CREDIT, OF_LIMIT, OF_BURST, CREDIT_MS, EXACT = 5, 50, 20, 8000, 10

local function map_of(flat)
  local m = {}
  for i = 1, #flat, 2 do
    m[flat[i]] = flat[i + 1]
  end
  return m
end

local function state(part, revoked, expires)
  if revoked and revoked ~= '' and revoked ~= '0' then
    return REVOKED
  end
  expires = tonumber(expires or 0) or 0
  return expires > 0 and expires <= part.now and EXPIRED or OK
end

-- A user's roles and those of the groups whose hashes stand between spaces.
local function with_groups(part, roles, groups)
  for hash in string.gmatch(groups or '', '%S+') do
    local more = call('HGET', part.p .. 'k:' .. hash, 'roles')
    roles = (roles or '') .. (more and ',' .. more or '')
  end
  return roles
end

-- Everything that is named in `of`, and what that depends on: nothing may be revoked or over, and nothing missing but
-- what has "?" before it.
local function follow(part, of, depth, answer)
  for mark, hash in string.gmatch(of, '(%??)(%S+)') do
    local r = call('HMGET', part.p .. 'k:' .. hash, 'kind', 'revoked', 'expires', 'of', 'id', 'roles', 'permissions', 'groups')
    local verdict = state(part, r[2], r[3])
    if depth > DEPTH or verdict == OK and not r[1] and mark == '' then
      return UNKNOWN
    end
    if r[1] == 'user' then
      answer[16] = { r[5], with_groups(part, r[6], r[8]), r[7] }
    end
    if verdict == OK then
      verdict = follow(part, r[4] or '', depth + 1, answer)
    end
    if verdict ~= OK then
      return verdict
    end
  end
  return OK
end

local function look_at_tenant(part, plan, answer)
  if not plan.t then
    return OK
  end
  answer[17] = call('HMGET', part.p .. 'kt:' .. plan.t, 'suspended', 'networks', 'tier')
  local suspended, tier = answer[17][1], answer[17][3]
  if tier and (plan.i or 0) == 0 then
    plan.i = tonumber(tier)
  end
  return suspended and suspended ~= '' and SUSPENDED or OK
end

-- Looks the credential up, and all it depends on, and fills in who calls.
local function look_up(part, plan, answer)
  local flat = call('HGETALL', part.p .. 'k:' .. plan.c)
  if #flat == 0 and not plan.o then
    return UNKNOWN
  end
  local c = map_of(flat)
  if #flat > 0 then
    answer[6] = flat
  end
  local verdict = state(part, c.revoked, c.expires)
  if verdict == OK then
    verdict = follow(part, (plan.a or '') .. ' ' .. (c.of or ''), 1, answer)
  end
  plan.t = plan.t or c.tenant
  if not plan.u and c.kind and c.id then
    plan.u = c.kind .. ':' .. c.id
    plan.i = tonumber(c.tier or 0) or 0
  end
  return verdict == OK and look_at_tenant(part, plan, answer) or verdict
end

-- The windows that a tier has beside the minute; `cost` in requests, `builds` in what starts one.
local function read_long(part, rate, h, cost, builds)
  local long = {}
  for i, window in ipairs(LONG) do
    local limit = rate[2 + i]
    if limit > 0 then
      local which, count = string.match(h[5 + i] or '', '(%d+) (%d+)')
      local now = floor(part.now / window[2])
      local before = tonumber(which) == now and tonumber(count) or 0
      long[#long + 1] = {
        at = 3 * i - 2, field = window[1], width = window[2], limit = limit, which = now, reset = (now + 1) * window[2],
        count = before, before = before, cost = window[1] == 'b' and builds or cost,
      }
    end
  end
  return long
end

-- The rate as it stands: window start and count, bucket level in 1/60,000 of a request and when it was so.
local function read_rate(part, plan)
  local rate = plan.r[(plan.i or 0) + 1] or plan.r[1]
  local key = part.p .. 'b:' .. plan.t .. ':' .. plan.u
  local h = call('HMGET', key, 'w', 'n', 'l', 's', 'g', 'h', 'd', 'b')
  local s = { key = key, limit = rate[1], burst = rate[2], start = tonumber(h[1] or ''), count = tonumber(h[2] or 0), held = h[5] or '' }
  local full = s.burst * WINDOW
  if not s.start or part.now - s.start >= WINDOW then
    s.start, s.count, s.new = part.now, 0, true
  end
  s.level = min(full, (tonumber(h[3] or '') or full) + max(0, part.now - (tonumber(h[4] or '') or part.now)) * s.limit)
  if rate[3] then
    s.long = read_long(part, rate, h, plan.n, max(0, plan.b or 0))
  end
  return s
end

-- Whether the windows beside the minute have room; when they do, and whether it is builds alone that lack.
local function check_long(part, s)
  local fits, retry, builds = true, 0, false
  for _, w in ipairs(s.long) do
    if w.count + w.cost > w.limit then
      builds = fits and w.field == 'b'
      fits, retry = false, max(retry, w.reset - part.now)
    end
  end
  return fits, retry, builds
end

local function show_long(s)
  local shown = { 0, 0, 0, 0, 0, 0, 0, 0, 0 }
  for _, w in ipairs(s.long) do
    shown[w.at], shown[w.at + 1], shown[w.at + 2] = w.limit, max(0, w.limit - w.count), w.reset
  end
  return shown
end

local function charge(part, s, cost, answer)
  local price = cost * WINDOW
  local window_ok, bucket_ok, long_ok, builds = s.count + cost <= s.limit, s.level >= price, true, false
  local verdict, retry = OK, 0
  if s.long then
    long_ok, retry, builds = check_long(part, s)
  end
  if window_ok and bucket_ok and long_ok then
    s.count, s.level = s.count + cost, s.level - price
    for _, w in ipairs(s.long or NONE) do
      w.count = w.count + w.cost
    end
  else
    verdict = builds and window_ok and bucket_ok and BUILDS or LIMITED
    if not window_ok then
      retry = max(retry, s.start + WINDOW - part.now)
    end
    if not bucket_ok then
      retry = max(retry, math.ceil((price - s.level) / s.limit))
    end
  end
  answer[7], answer[8], answer[9] = s.limit, max(0, s.limit - s.count), s.start + WINDOW
  answer[10], answer[11], answer[12] = s.burst, floor(s.level / WINDOW), retry
  answer[18] = s.long and show_long(s) or false
  return verdict
end

-- Charges what a holder let through already, whatever is left: that is how far a limit may be exceeded; and takes back what
-- builds were charged that came to nothing.
local function settle(s, used, back)
  s.count, s.level = s.count + used, s.level - used * WINDOW
  for _, w in ipairs(s.long or NONE) do
    w.count = w.field == 'b' and max(0, w.count - back) or w.count + used
  end
end

-- A new grant in the place of the holder's last one. Grants are "<holder> <requests> <until>", each with a comma behind it.
local function grant(part, s, plan)
  local room, kept = min(CREDIT, floor(s.limit / OF_LIMIT), floor(s.burst / OF_BURST)), ''
  local left = min(floor(s.limit - s.count - s.limit / EXACT), floor(s.level / WINDOW - s.burst / EXACT))
  for _, w in ipairs(s.long or NONE) do
    if w.field ~= 'b' then
      room, left = min(room, floor(w.limit / OF_LIMIT)), min(left, floor(w.limit - w.count - w.limit / EXACT))
    end
  end
  for entry, holder, n, till in string.gmatch(s.held, '((%w+) (%d+) (%d+),)') do
    if (plan.f or holder ~= plan.h) and tonumber(till) > part.now then
      room, kept = room - n, kept .. entry
    end
  end
  local n = min(plan.g, room, left)
  if n > 0 then
    kept = kept .. plan.h .. ' ' .. int(n) .. ' ' .. int(part.now + CREDIT_MS) .. ','
  end
  s.held, s.granted = kept, kept ~= s.held
  return max(0, n)
end

-- Names and values of what else has changed.
local function changes(s)
  if not s.granted and not s.long then
    return NONE
  end
  local more = s.granted and { 'g', s.held } or {}
  for _, w in ipairs(s.long or NONE) do
    if w.count ~= w.before then
      more[#more + 1] = w.field
      more[#more + 1] = int(w.which) .. ' ' .. int(w.count)
    end
  end
  return more
end

local function write_rate(part, s)
  call('HSET', s.key, 'w', int(s.start), 'n', int(s.count), 'l', int(s.level), 's', part.now_text, unpack(changes(s)))
  if s.new then
    -- By then all windows are over, the next one of those that end within this minute too, and the bucket is full: the key says
    -- no more than its absence.
    local last = max(2 * WINDOW, math.ceil(s.burst * WINDOW / s.limit) + WINDOW)
    for _, w in ipairs(s.long or NONE) do
      local left = w.reset - part.now
      last = max(last, left <= WINDOW and left + w.width or left)
    end
    call('PEXPIRE', s.key, last)
  end
end

-- When and from where a key was used last, to the minute, in its document.
local USED_MS = 60000
local function note_use(part, plan)
  local id = plan.w and string.match(plan.u, '^key:(.+)$')
  local key = id and part.p .. 'd:' .. plan.t .. ':key:' .. id
  local h = key and call('HMGET', key, 'r', 'used')
  if h and h[1] and part.now - (tonumber(h[2] or '') or 0) >= USED_MS then
    call('HSET', key, 'used', part.now_text, 'used_from', plan.w)
  end
end

local function read_key(part, plan, answer)
  local k = plan.k
  local key = part.p .. 'i:' .. plan.t .. ':' .. plan.u .. ':' .. k[1] .. ':' .. k[2]
  local h = call('HMGET', key, 'state', 'fingerprint', 'owner', 'until')
  if not h[1] or (h[1] == 'claimed' and tonumber(h[4] or 0) <= part.now) then
    answer[13] = CLAIMED
    return key
  end
  if h[2] ~= k[3] then
    answer[13] = OTHER
  elseif h[1] == 'done' then
    answer[13], answer[14] = REPLAY, call('HGETALL', key)
  elseif h[3] == k[4] then
    answer[13] = CLAIMED
    return key
  else
    answer[13] = IN_PROGRESS
  end
  return nil
end

local function admit(keys, args)
  local part = enter(keys)
  local plan = cmsgpack.unpack(args[1])
  local answer = { OK, part.now, part.epoch, part.commits, part.revoked, false, 0, 0, 0, 0, 0, 0, NO_KEY, false, 0, false, false, false }
  if plan.c then
    answer[1] = look_up(part, plan, answer)
  end
  if answer[1] ~= OK or not plan.t or not plan.u then
    return answer
  end
  local used, back = plan.s or 0, max(0, -(plan.b or 0))
  local rate = plan.n + used + back > 0 and read_rate(part, plan)
  local claimed = plan.k and read_key(part, plan, answer)
  if rate then
    settle(rate, used, back)
    answer[1] = charge(part, rate, plan.n, answer)
    if plan.h then
      answer[15] = grant(part, rate, plan)
    end
  end
  if rate and (answer[1] == OK or used + back > 0) then
    write_rate(part, rate)
  end
  if answer[1] ~= OK then
    answer[13], answer[14] = NO_KEY, false
    return answer
  end
  note_use(part, plan)
  if claimed then
    local k = plan.k
    call('DEL', claimed)
    call('HSET', claimed, 'state', 'claimed', 'fingerprint', k[3], 'owner', k[4], 'until', int(part.now + k[5]))
    call('PEXPIRE', claimed, k[5] + 1000)
  end
  return answer
end

redis.register_function { function_name = 'admit_1', callback = admit, flags = { 'allow-oom' } }
