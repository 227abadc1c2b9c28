-- append: log lines of a step, at most 100 at once, as one entry of the run's channel.
--
-- Plan: {tenant, run, node, attempt, task or '', first, lines, skip, last, marker, cap, kind, agent or ''}. Answers {1,
-- now, epoch, commits, next, gap, truncated, first logSeq, last logSeq, seq, stray}, or a refusal as commit does.

-- Queues the lines as far as the cap allows; answers the bytes of the log then.
local function add_lines(part, ch, log, lines, drop, marker, cap)
  local bytes = log.bytes
  for i = drop + 1, #lines do
    local rest = lines[i]
    if log.truncated then
      break
    end
    if bytes + #rest > cap then
      log.truncated = true
      rest = marker
    end
    bytes = bytes + #rest
    add_frame(part, ch, rest, log.next)
    log.next = log.next + 1
  end
  log.bytes = bytes
end

local function append(keys, args)
  local part = enter(keys)
  local plan = cmsgpack.unpack(args[1])
  local tenant, run, task, first, lines = plan[1], plan[2], plan[5], plan[6], plan[7]
  local name = (plan[12] or 'run') .. ':' .. run
  local index_key = part.p .. 'l:' .. tenant .. ':' .. name .. ':' .. plan[3] .. ':' .. int(plan[4])
  local meta_key = index_key .. ':m'
  local agent = plan[13] or ''
  local tasks_key = part.p .. 'gt:' .. tenant .. ':' .. agent
  local ch, refusal = open_channel(part, tenant, name)
  refusal = refusal or typed(part, 'zset', index_key) or typed(part, 'hash', meta_key)
  refusal = refusal or agent ~= '' and typed(part, 'hash', tasks_key)
  if not refusal and call('EXISTS', part.p .. 'd:' .. tenant .. ':' .. name) == 0 then
    refusal = { ABSENT, 'run', false }
  end
  if refusal then
    return { 0, part.now, part.epoch, part.commits, refusal[1], refusal[2], refusal[3] }
  end

  if agent ~= '' and call('HEXISTS', tasks_key, task) == 0 then -- another has it now, or nobody
    return { 1, part.now, part.epoch, part.commits, 0, 0, 0, 0, 0, ch.last, 1 }
  end

  local h = call('HMGET', meta_key, 'next', 'bytes', 'truncated', 'complete', 't:' .. task)
  local log = { next = tonumber(h[1] or 1), bytes = tonumber(h[2] or 0), truncated = h[3] == '1' }
  local expected = task == '' and first or tonumber(h[5] or 1)
  local beyond = first + #lines
  local was_truncated, log_first = log.truncated, log.next
  if first > expected and not plan[8] then
    return { 1, part.now, part.epoch, part.commits, expected, 1, log.truncated and 1 or 0, 0, 0, ch.last }
  end
  local drop = max(0, expected - first)
  if h[4] ~= '1' then -- what comes after the end is acknowledged and dropped
    add_lines(part, ch, log, lines, drop, plan[10], plan[11])
  end
  expected = max(expected, beyond)

  local added = log.next - log_first
  if added == 0 and drop >= #lines and not plan[9] then
    return { 1, part.now, part.epoch, part.commits, expected, 0, log.truncated and 1 or 0, 0, 0, ch.last }
  end
  if added > 0 then
    flush_channel(ch)
    call('ZADD', index_key, int(log_first), int(ch.last) .. '-0')
    call('HSET', meta_key, 'next', int(log.next), 'bytes', int(log.bytes))
  end
  if log.truncated and not was_truncated then
    call('HSET', meta_key, 'truncated', 1)
  end
  if task ~= '' then
    call('HSET', meta_key, 't:' .. task, int(expected))
  end
  if plan[9] then
    call('HSET', meta_key, 'complete', 1)
  end
  leave(part)
  return {
    1, part.now, part.epoch, part.commits, expected, 0, log.truncated and 1 or 0,
    added > 0 and log_first or 0, added > 0 and log.next - 1 or 0, ch.last,
  }
end

redis.register_function('append_1', append)
