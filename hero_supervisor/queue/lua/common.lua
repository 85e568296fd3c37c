-- What the scripts share; it is put before each of them.
--
-- ARGV[1] namespace
-- ARGV[2] now, RFC 3339
-- ARGV[3] a random number from 0 to 1: Redis seeds its own generator alike for each script
--
-- KEYS[1] of every script is the settings of a queue. All its keys hold its runner in braces, so Redis Cluster keeps
-- them together, and their names are made here. Times are Redis's own, in milliseconds since the epoch.
--
-- A job that has not ended is, unless its status is 'created', in exactly one of these sorted sets of its queue:
--   pending  by place: may be taken            delayed  by time: from when it may be taken
--   blocked  by time: waits for other jobs     taken    by deadline: was handed to a holder, also in held:HOLDER
local NAMESPACE, NOW, RANDOM = ARGV[1], ARGV[2], tonumber(ARGV[3])
local DEFAULT_TIMEOUT_S, DEFAULT_PRIORITY, HIGHEST_PRIORITY = 300, 5, 9
-- What the most important job's place begins with is 0, and each level below adds this: 25 years in microseconds.
local LEVEL, EPOCH_S = 8e14, 1735689600
local DEFAULT_TTL_S, DEAD_TTL_S, REPLY_TTL_S, GROUP_TTL_S = 7 * 86400, 30 * 86400, 3600, 7 * 86400
local DEFAULT_MAX_ENDED, DEFAULT_MAX_CRASHES = 50000, 3
local DELAYED_PER_CALL = 100
-- What times of jobs are counted by, in milliseconds; the same as in figures.py.
local BOUNDS_MS = {1, 5, 10, 50, 100, 500, 1000, 5000, 10000, 60000, 300000, 3600000}
-- Longest time of a job, in seconds: a year, as in job.py.
local MAX_S = 366 * 86400

local clock = redis.call('TIME')
local now_ms = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- A number as text: Lua's own form has 14 digits.
local function digits(number)
  return string.format('%.0f', number)
end

-- A number that anyone may have written: within bounds, or the default when it is none.
local function bounded(text, lowest, highest, default)
  local number = tonumber(text)
  if not number or number ~= number then
    return default
  end
  return math.max(lowest, math.min(number, highest))
end

-- Whether a text may be the id of a job, see ``JobId`` in job.py.
local function is_id(text)
  return #text <= 128 and string.find(text, '^[A-Za-z0-9][A-Za-z0-9._-]*$') ~= nil
end

local function job_key(id)
  return NAMESPACE .. ':job:' .. id
end

local function queue_key(runner, what)
  return NAMESPACE .. ':q:{' .. runner .. '}:' .. what
end

local function is_final(status)
  return status == 'finished' or status == 'error' or status == 'cancelled'
end

-- The types of a queue's keys. They are looked at before the first write: nothing that a script wrote is taken back
-- when it fails, so a key of another type in its middle would leave a job half where it was.
local TYPES = {
  settings = 'hash', pending = 'zset', delayed = 'zset', blocked = 'zset', taken = 'zset', jobs = 'zset',
  ended = 'zset', dead = 'zset', holders = 'hash', words = 'hash', fenced = 'zset', beats = 'zset', wake = 'list',
  bucket = 'hash', counts = 'hash', last = 'string',
}
-- Those of a holder.
local HOLDER_TYPES = {held = 'zset', ping = 'hash', control = 'list'}

local function has_type(key, kind)
  local found = redis.call('TYPE', key).ok
  return found == kind or found == 'none'
end

local function check_type(runner, what, kind)
  local key = queue_key(runner, what)
  if not has_type(key, kind) then
    error("WRONGTYPE key '" .. key .. "' is not a " .. kind .. ': check_integrity mends that')
  end
end

local function check_types(runner)
  for what, kind in pairs(TYPES) do
    check_type(runner, what, kind)
  end
end

local function check_holder(runner, holder)
  for what, kind in pairs(HOLDER_TYPES) do
    check_type(runner, what .. ':' .. holder, kind)
  end
end

-- Scripts for jobs get the key of a job, and check when they know its runner.
if KEYS[1] and string.sub(KEYS[1], -9) == ':settings' then
  check_types(ARGV[4])
end

local function count(runner, what)
  redis.call('HINCRBY', queue_key(runner, 'counts'), what, 1)
end

-- Count a time, by the first bound that it does not exceed.
local function count_time(runner, what, ms)
  local bound = 'inf'
  ms = math.max(0, ms)
  for _, each in ipairs(BOUNDS_MS) do
    if ms <= each then
      bound = each
      break
    end
  end
  redis.call('HINCRBY', queue_key(runner, 'counts'), what .. ':' .. bound, 1)
  redis.call('HINCRBY', queue_key(runner, 'counts'), what .. ':ms', digits(ms))
end

-- Where a job stands among those of its priority: behind all that are there.
local function next_place(runner, priority)
  local key = queue_key(runner, 'last')
  local moment = (clock[1] - EPOCH_S) * 1e6 + clock[2]
  local last = tonumber(redis.call('GET', key)) or 0
  if moment <= last then
    moment = last + 1
  end
  redis.call('SET', key, digits(moment))
  local level = HIGHEST_PRIORITY - math.floor(bounded(priority, 0, HIGHEST_PRIORITY, DEFAULT_PRIORITY))
  return digits(level * LEVEL + moment)
end

-- Let one who waits for work look; who finds more than it takes calls the next.
local function wake(runner)
  local key = queue_key(runner, 'wake')
  if redis.call('LLEN', key) == 0 then
    redis.call('RPUSH', key, '1')
  end
end

-- Put a job among those that may be taken, where it stood before if it has stood there.
local function make_pending(id, runner)
  local job = redis.call('HMGET', job_key(id), 'place', 'priority')
  local place = tonumber(job[1]) and job[1] or next_place(runner, job[2])
  redis.call('HSET', job_key(id), 'status', 'dispatched', 'place', place, 'queued_at', digits(now_ms),
    'updated_at', NOW)
  redis.call('ZADD', queue_key(runner, 'pending'), place, id)
  wake(runner)
end

local function make_delayed(id, runner, due_ms)
  redis.call('HSET', job_key(id), 'status', 'scheduled', 'due', digits(due_ms), 'updated_at', NOW)
  redis.call('HDEL', job_key(id), 'place')
  redis.call('ZADD', queue_key(runner, 'delayed'), digits(due_ms), id)
  wake(runner)
end

-- Put a job that needs no other any more where it belongs.
local function admit(id, runner)
  local due = tonumber(redis.call('HGET', job_key(id), 'due'))
  if due and due > now_ms then
    make_delayed(id, runner, due)
  else
    make_pending(id, runner)
  end
end

-- Let jobs whose time has come be taken; returns when the next one's time comes, or false.
local function promote(runner)
  local delayed = queue_key(runner, 'delayed')
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', delayed, '-inf', now_ms, 'LIMIT', 0, DELAYED_PER_CALL)) do
    redis.call('ZREM', delayed, id)
    if redis.call('TYPE', job_key(id)).ok == 'hash' then
      make_pending(id, runner)
    end
  end
  return redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')[2]
end

-- Take a job from among those that nobody has.
local function leave(id, runner)
  for _, place in ipairs({'pending', 'delayed', 'blocked'}) do
    redis.call('ZREM', queue_key(runner, place), id)
  end
end

-- Give a job to a holder, until so many seconds from now.
local function hand_over(id, runner, holder, deadline)
  redis.call('ZADD', queue_key(runner, 'taken'), deadline, id)
  redis.call('ZADD', queue_key(runner, 'held:' .. holder), digits(now_ms), id)
end

-- Take a job from its holder; returns whether it had it.
local function take_back(id, runner, holder)
  redis.call('ZREM', queue_key(runner, 'taken'), id)
  return redis.call('ZREM', queue_key(runner, 'held:' .. holder), id) == 1
end

local function forget(id, runner)
  redis.call('DEL', job_key(id), NAMESPACE .. ':dependents:' .. id)
  for _, index in ipairs({'jobs', 'ended', 'dead'}) do
    redis.call('ZREM', queue_key(runner, index), id)
  end
end

-- Forget ended jobs whose time is over, or that are too many. A few at a time: this is a part of other scripts.
local function trim(runner, most)
  local ended = queue_key(runner, 'ended')
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', ended, '-inf', now_ms, 'LIMIT', 0, most)) do
    forget(id, runner)
  end
  local max = tonumber(redis.call('HGET', queue_key(runner, 'settings'), 'max_ended')) or DEFAULT_MAX_ENDED
  local surplus = math.min(most, redis.call('ZCARD', ended) - max)
  if surplus > 0 then
    for _, id in ipairs(redis.call('ZRANGE', ended, 0, surplus - 1)) do
      forget(id, runner)
    end
  end
end

local function record_end(id, status, field, text, reason, is_dead)
  local job = redis.call('HMGET', job_key(id), 'runner', 'result_ttl_s', 'group', 'foreign', 'holder', 'queued_at',
    'started_at')
  local runner = job[1] or ''
  local key = job_key(id)
  redis.call('HSET', key, 'status', status, 'ended_at', digits(now_ms), 'updated_at', NOW, 'reason', reason)
  redis.call('HDEL', key, 'holder', 'list', 'place', 'cancel', 'run', 'offered')
  if field then
    redis.call('HSET', key, field, text)
  end
  local ttl_s = is_dead and DEAD_TTL_S or tonumber(job[2]) or DEFAULT_TTL_S
  redis.call('ZADD', queue_key(runner, 'ended'), digits(now_ms + ttl_s * 1000), id)
  if is_dead then
    redis.call('ZADD', queue_key(runner, 'dead'), digits(now_ms), id)
    count(runner, 'dead')
  end
  count(runner, status)
  local queued_ms, started_ms = tonumber(job[6]), tonumber(job[7])
  if job[5] and queued_ms and started_ms and queued_ms <= started_ms then -- else it ended while nobody executed it
    count_time(runner, 'wait', started_ms - queued_ms)
    count_time(runner, 'run', now_ms - started_ms)
  end
  if job[3] then
    -- pcall, as below: a group of another type must not keep its jobs from ending.
    local group = NAMESPACE .. ':group:' .. job[3]
    redis.pcall('HINCRBY', group, 'open', -1)
    redis.pcall('HINCRBY', group, status, 1)
    redis.pcall('EXPIRE', group, GROUP_TTL_S)
  end
  if job[4] and redis.call('EXISTS', NAMESPACE .. ':q:reply:' .. id) == 0 then -- else its runner has replied
    -- pcall: the result is stored already, and a reply key of another type must not make that look like a failure.
    redis.pcall('LPUSH', NAMESPACE .. ':q:reply:' .. id, text or '')
    redis.pcall('EXPIRE', NAMESPACE .. ':q:reply:' .. id, REPLY_TTL_S)
  end
  trim(runner, 2)
  redis.pcall('PUBLISH', NAMESPACE .. ':ends', id) -- pcall: who may not do that loses some speed, and no end
end

-- End a job for good, and those that cannot be executed without it. It is in no set any more.
local function close(id, status, field, text, reason, is_dead)
  local ending = {{id, status, field, text, reason, is_dead}}
  local is_ending = {[id] = true}
  local i = 1
  while ending[i] do
    local id, status = ending[i][1], ending[i][2]
    record_end(unpack(ending[i], 1, 6))
    local dependents = NAMESPACE .. ':dependents:' .. id
    -- pcall: it may be no set, and a job that waits may be no hash; check_integrity finds those that waited.
    for _, other in ipairs(redis.pcall('SMEMBERS', dependents)) do
      local job = redis.pcall('HMGET', job_key(other), 'status', 'runner', 'on_prerequisite_failure')
      -- One that waits for several of those that end here is met several times before its own end is recorded.
      if job[1] == 'waiting_for_prerequisites' and not is_ending[other] then
        if status ~= 'finished' and job[3] ~= 'run' then
          leave(other, job[2])
          is_ending[other] = true
          local why = "cannot execute: its prerequisite '" .. id .. "' ended as '" .. status .. "'"
          ending[#ending + 1] = {other, 'cancelled', 'error', why, 'prerequisite', false}
        elseif redis.call('HINCRBY', job_key(other), 'unmet', -1) <= 0 then
          leave(other, job[2])
          admit(other, job[2])
        end
      end
    end
    redis.call('DEL', dependents)
    i = i + 1
  end
end

-- An attempt has ended with an error: try again later, or end the job. It is in no set any more.
local function fail(id, runner, text, reason, is_permanent)
  local job = redis.call('HMGET', job_key(id), 'max_retries', 'retry_delay_s', 'retry_max_delay_s')
  local retries = tonumber(job[1]) or 0
  local failures = redis.call('HINCRBY', job_key(id), 'failures', 1)
  if is_permanent or failures > retries then
    close(id, 'error', 'error', text, reason, retries > 0)
    return
  end
  local pause_ms = (tonumber(job[2]) or 1) * 1000 * 2 ^ math.min(failures - 1, 30) * (0.75 + RANDOM / 2)
  redis.call('HSET', job_key(id), 'error', text, 'reason', reason)
  redis.call('HDEL', job_key(id), 'holder', 'list', 'run', 'offered')
  make_delayed(id, runner, now_ms + math.min(pause_ms, (tonumber(job[3]) or 300) * 1000))
  count(runner, 'retried')
end

-- An attempt that was to be stopped has ended: for its timeout it failed, for anything else it is cancelled.
local function stopped(id, runner, why)
  if why == 'timeout' or why == 'unheard' then
    local timeout_s = redis.call('HGET', job_key(id), 'timeout') or DEFAULT_TIMEOUT_S
    redis.call('HDEL', job_key(id), 'cancel')
    fail(id, runner, 'timed out after ' .. timeout_s .. ' s', 'timeout')
  else
    close(id, 'cancelled', false, false, why)
  end
end

-- Whoever had a job is no more, and has not ended it: let another take it, or end it. It is in no set any more.
local function recover(id, runner, reason, text, is_counted)
  local key = job_key(id)
  local job = redis.call('HMGET', key, 'cancel', 'on_crash', 'max_crashes', 'crashes')
  if job[1] == 'unheard' then
    redis.call('HDEL', key, 'cancel')
    reason, text, is_counted = 'unheard', 'a process that may have had it ended, and nothing was heard of it since', true
  elseif job[1] then
    stopped(id, runner, job[1])
    return redis.call('HGET', key, 'status')
  end
  if is_counted then
    local crashes = redis.call('HINCRBY', key, 'crashes', 1)
    if job[2] == 'fail' or job[2] == 'dead' or crashes > (tonumber(job[3]) or DEFAULT_MAX_CRASHES) then
      close(id, 'error', 'error', text, reason, job[2] ~= 'fail')
      return 'error'
    end
  end
  redis.call('HSET', key, 'reason', reason)
  redis.call('HDEL', key, 'holder', 'list', 'run', 'offered')
  count(runner, 'recovered')
  make_pending(id, runner)
  return 'dispatched'
end

-- How many jobs may be taken now by who wants so many, and when more can be if it is the rate that forbids it.
local function allowance(runner, want)
  local settings = redis.call('HMGET', queue_key(runner, 'settings'), 'is_paused', 'max_running', 'rate', 'burst')
  if settings[1] then
    return 0
  end
  local room = math.huge
  if tonumber(settings[2]) then
    room = tonumber(settings[2]) - redis.call('ZCARD', queue_key(runner, 'taken'))
  end
  local rate = tonumber(settings[3])
  if not rate then
    return math.max(0, room)
  end
  local key, burst = queue_key(runner, 'bucket'), tonumber(settings[4]) or 1
  local bucket = redis.call('HMGET', key, 'tokens', 'at')
  local past_s = math.max(0, now_ms - (tonumber(bucket[2]) or 0)) / 1000
  local tokens = math.min(burst, (tonumber(bucket[1]) or burst) + past_s * rate)
  local taken = math.max(0, math.min(math.floor(tokens), room, want, redis.call('ZCARD', queue_key(runner, 'pending'))))
  redis.call('HSET', key, 'tokens', tostring(tokens - taken), 'at', digits(now_ms))
  if tokens - taken < 1 then
    return taken, now_ms + (1 - (tokens - taken)) / rate * 1000
  end
  return math.min(math.max(0, room), math.floor(tokens))
end

-- Take jobs that may be taken, at most so many; returns their ids and when to look again, or false.
local function take(runner, want, each)
  local due = promote(runner)
  local pending = queue_key(runner, 'pending')
  local room, again = allowance(runner, want)
  local ids = {}
  while #ids < math.min(want, room) do
    local id = redis.call('ZPOPMIN', pending)[1]
    if not id then
      break
    end
    -- pcall: what somebody made something else than a hash is no job any more.
    local job = redis.pcall('HMGET', job_key(id), 'status', 'timeout')
    if not job.err and is_final(job[1]) then
      close(id, job[1], false, false, '') -- by one who was late and wrote into its hash
    elseif not job.err and job[1] then
      each(id, bounded(job[2], 1, MAX_S, DEFAULT_TIMEOUT_S))
      ids[#ids + 1] = id
    end
  end
  if room > #ids and redis.call('ZCARD', pending) > 0 then
    wake(runner)
  end
  local first = math.min(tonumber(due) or math.huge, again or math.huge)
  return ids, first < math.huge and digits(first)
end

-- The fields of a job's hash: false for one that is absent, its length for one that is longer than it may be.
local function read(key, names, first)
  local values = {}
  for i = first or 1, #names, 2 do
    local value = redis.call('HSTRLEN', key, names[i])
    if value <= tonumber(names[i + 1]) then
      value = redis.call('HGET', key, names[i])
    end
    values[#values + 1] = value
  end
  return values
end

-- Note a job that was not stored by us as one of a queue. What it has under the names of our own fields is not ours.
local function enter(id, runner)
  redis.call('HDEL', job_key(id), 'place', 'holder', 'list', 'due', 'cancel', 'attempt', 'run', 'offered', 'unmet', 'crashes',
    'failures', 'started_at', 'ended_at', 'group')
  redis.call('HSET', job_key(id), 'runner', runner, 'foreign', '1', 'digest', '')
  redis.call('ZADD', queue_key(runner, 'jobs'), digits(now_ms * 1000), id)
  redis.call('SADD', NAMESPACE .. ':queues', runner)
  count(runner, 'queued')
end

-- Take a job that others have pushed into a queue; one that is there already, or that has ended, stays as it is.
local function adopt(id, runner)
  local job = redis.pcall('HMGET', job_key(id), 'status', 'digest')
  if job.err or is_final(job[1]) or redis.call('EXISTS', job_key(id)) == 0 then
    return
  elseif not job[2] then
    enter(id, runner)
    make_pending(id, runner)
  elseif job[1] == 'created' then
    redis.call('HSET', job_key(id), 'runner', runner) -- stored by us, pushed by its maker
    count(runner, 'queued')
    make_pending(id, runner)
  end
end
