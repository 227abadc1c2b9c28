-- claim, sweep, take: runs and their one writer, what is due, work for servers.

-- Plan: {tenant, run, owner, token, lease ms, kind}; token 0 takes a free lease, another keeps it. Answers {1, now,
-- epoch, commits, claim} or a refusal as commit does.
local function claim_run(keys, args)
  local part = enter(keys)
  local plan = cmsgpack.unpack(args[1])
  local k = run_keys(part, plan[1], plan[2], plan[6])
  local refusal = check_run(part, k)
  if refusal then
    return { 0, part.now, part.epoch, part.commits, refusal[1], refusal[2], refusal[3] }
  end
  local answer
  if plan[4] == 0 then
    answer = claim(part, k, plan[3], plan[5])
  else
    local le = call('HMGET', k.lease, 'token', 'until')
    local token, till = tonumber(le[1] or 0), tonumber(le[2] or 0)
    answer = { 0, token, till, false, false, call('LLEN', k.inbox) }
    if token == plan[4] then
      answer[1], answer[3] = 1, part.now + plan[5]
      call('HSET', k.lease, 'until', int(answer[3]))
    end
  end
  if answer[1] == 1 then
    leave(part)
  end
  return { 1, part.now, part.epoch, part.commits, answer }
end

redis.register_function { function_name = 'claim_1', callback = claim_run, flags = { 'allow-oom' } }

-- Members whose time has come; they are not handed out again before `again`.
local function hand_out(key, till, most, again)
  local due = call('ZRANGEBYSCORE', key, '-inf', int(till), 'LIMIT', '0', int(most))
  for _, member in ipairs(due) do
    call('ZADD', key, 'XX', int(again), member)
  end
  return due
end

-- Plan: {seen commits, dirty ms, stale ms, lease ms, most}. A data set whose counter went back is another one: its
-- epoch rises. Answers {now, epoch, commits, dirty, timers, queue, stale, raised}.
local function sweep(keys, args)
  local part = enter(keys)
  local plan = cmsgpack.unpack(args[1])
  local p, now, most = part.p, part.now, plan[5]
  local dirty, timers, queue, live = p .. 'dirty', p .. 't', p .. 'q', p .. 'gl'
  local refusal = typed(part, 'zset', dirty) or typed(part, 'zset', timers) or typed(part, 'zset', queue)
    or typed(part, 'zset', live)
  if refusal then
    return redis.error_reply('STORE ' .. refusal[2] .. ' ' .. refusal[3])
  end
  local raised = 0
  if part.commits < plan[1] then
    raised = 1
    part.epoch, part.commits = max(now, part.epoch + 1), plan[1] + 1
    call('HSET', part.meta, 'epoch', int(part.epoch), 'commits', int(part.commits), 'clock', part.now_text, 'abi', '1')
  end
  if most == 0 then
    return { now, part.epoch, part.commits, {}, {}, {}, {}, raised }
  end
  return {
    now, part.epoch, part.commits,
    hand_out(dirty, now - plan[2], most, now),
    hand_out(timers, now, most, now + plan[4]),
    hand_out(queue, now, most, now + plan[4]),
    call('ZRANGEBYSCORE', live, '-inf', int(now - plan[3]), 'WITHSCORES', 'LIMIT', '0', int(most)),
    raised,
  }
end

redis.register_function { function_name = 'sweep_1', callback = sweep, flags = { 'allow-oom' } }

-- Plan: {most, renew, lease ms}. Answers {now, epoch, commits, due, renewed}.
local function take(keys, args)
  local part = enter(keys)
  local plan = cmsgpack.unpack(args[1])
  local key, again = part.p .. 'q', part.now + plan[3]
  local refusal = typed(part, 'zset', key)
  if refusal then
    return redis.error_reply('STORE ' .. refusal[2] .. ' ' .. refusal[3])
  end
  local renewed = {}
  for _, member in ipairs(plan[2]) do
    if call('ZSCORE', key, member) then
      call('ZADD', key, 'XX', again, member)
      renewed[#renewed + 1] = member
    end
  end
  local due = plan[1] > 0 and hand_out(key, part.now, plan[1], again) or {}
  return { part.now, part.epoch, part.commits, due, renewed }
end

redis.register_function { function_name = 'take_1', callback = take, flags = { 'allow-oom' } }
