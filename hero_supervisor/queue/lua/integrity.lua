-- Look whether jobs are where they have to be, each in one moment, and mend what is wrong if asked to.
--
-- ARGV[4] runner; '' with 'stored'
-- ARGV[5] '1' to mend
-- ARGV[6] where the ids are from: 'index': the index of the queue; 'member': another set of it, so that those in the
--   index are left for then; 'held': the set of a holder; 'stored': names of hashes, whatever their queue
-- ARGV[7] name of that set; ids that have left it are not looked at
-- ARGV[8] and on: ids
-- returns {violations: {runner, id, kind, text} each, id '' when it is about the queue; groups of the jobs from the
--   index that have not ended}
--
-- What is mended, and how: queue/integrity.py tells. No job is ever dropped that has a record.
local is_mending, source, set = ARGV[5] == '1', ARGV[6], ARGV[7]
local PLACES = {'pending', 'delayed', 'blocked', 'taken'}
local USUAL = {pending = 'dispatched', delayed = 'scheduled', blocked = 'waiting_for_prerequisites'}
local REASON = 'integrity'
local violations, groups = {}, {}

-- Report a violation; returns whether to mend it.
local function wrong(id, kind, text, runner)
  violations[#violations + 1] = {runner or ARGV[4], id, kind, text}
  return is_mending
end

local function is_in(runner, set, id)
  return redis.call('ZSCORE', queue_key(runner, set), id) and true
end

local function remove(runner, sets, id)
  for _, set in ipairs(sets) do
    redis.call('ZREM', queue_key(runner, set), id)
  end
end

-- Whether a job that others wait for has ended, and all is done about that. One that its runner has ended by writing
-- into its hash is in the ledger until the supervisor has seen it.
local function has_ended(id)
  local job = redis.pcall('HMGET', job_key(id), 'status', 'runner')
  if job.err or not job[1] and redis.call('EXISTS', job_key(id)) == 0 then
    return true, 'missing'
  end
  return is_final(job[1]) and not is_in(job[2] or '', 'taken', id), job[1]
end

local function prerequisites_of(id)
  local ok, ids = pcall(cjson.decode, redis.call('HGET', job_key(id), 'prerequisites') or '[]')
  local found, seen = {}, {}
  for _, other in ipairs(ok and type(ids) == 'table' and ids or {}) do
    if type(other) == 'string' and not seen[other] then
      found[#found + 1] = other
      seen[other] = true
    end
  end
  return found
end

-- Let a job wait for those that have not ended, or go where it belongs if there is none.
local function wait_anew(id, runner)
  local open = 0
  for _, other in ipairs(prerequisites_of(id)) do
    local is_over, status = has_ended(other)
    if not is_over then
      local dependents = NAMESPACE .. ':dependents:' .. other
      if not has_type(dependents, 'set') then
        redis.call('RENAME', dependents, dependents .. ':set-aside')
      end
      open = open + 1
      redis.call('SADD', dependents, id)
    elseif status ~= 'finished' and redis.call('HGET', job_key(id), 'on_prerequisite_failure') ~= 'run' then
      leave(id, runner)
      close(id, 'cancelled', 'error', "cannot execute: its prerequisite '" .. other .. "' ended as '" .. status .. "'",
        'prerequisite')
      return
    end
  end
  redis.call('HSET', job_key(id), 'unmet', open)
  leave(id, runner)
  if open == 0 then
    admit(id, runner)
  else
    redis.call('HSET', job_key(id), 'status', 'waiting_for_prerequisites')
    redis.call('ZADD', queue_key(runner, 'blocked'), digits(now_ms), id)
  end
end

local function check_blocked(id, runner)
  local waits, is_stale = 0, false
  for _, other in ipairs(prerequisites_of(id)) do
    -- pcall: it may be no set.
    if redis.pcall('SISMEMBER', NAMESPACE .. ':dependents:' .. other, id) == 1 then
      waits = waits + 1
      is_stale = is_stale or has_ended(other)
    end
  end
  local unmet = tonumber(redis.call('HGET', job_key(id), 'unmet')) or 0
  local text = 'waits for ' .. unmet .. ' jobs, and ' .. waits .. ' will tell it of their end'
  if is_stale then
    text = text .. '; one of them has ended'
  end
  if (waits == 0 or waits ~= unmet or is_stale) and wrong(id, 'prerequisites', text) then
    wait_anew(id, runner)
  end
end

local function check_taken(id, runner, holder, list)
  if not list and redis.call('HEXISTS', queue_key(runner, 'holders'), holder) == 0 then
    if wrong(id, 'holder', "is taken by '" .. holder .. "', which is not known") then
      take_back(id, runner, holder)
      recover(id, runner, REASON, 'its holder is not known any more', false)
    end
  elseif not is_in(runner, 'held:' .. holder, id) then
    if wrong(id, 'held', "is taken by '" .. holder .. "', whose set lacks it") then
      redis.call('ZADD', queue_key(runner, 'held:' .. holder), digits(now_ms), id)
    end
  end
end

-- Put a job that is nowhere back.
local function restore(id, runner, status, cancel)
  redis.call('HDEL', job_key(id), 'holder', 'list')
  if status == 'waiting_for_prerequisites' then
    wait_anew(id, runner)
  elseif cancel then
    recover(id, runner, REASON, '', false)
  else
    redis.call('HSET', job_key(id), 'reason', REASON)
    admit(id, runner)
  end
end

-- Which of several places a job stays in.
local function right_place(id, runner, places, status, holder)
  local is_there = {}
  for _, place in ipairs(places) do
    is_there[place] = true
  end
  if is_there.taken and is_in(runner, 'held:' .. holder, id) then
    return 'taken'
  end
  for _, place in ipairs(places) do
    if USUAL[place] == status then
      return place
    end
  end
  return places[1]
end

local function check_open(id, runner, places, job)
  local status, holder = job[1] or '', job[3] or ''
  if is_in(runner, 'ended', id) or is_in(runner, 'dead', id) then
    if wrong(id, 'ended', "is '" .. status .. "' and would be forgotten like an ended job") then
      remove(runner, {'ended', 'dead'}, id)
    end
  end
  if #places == 0 then
    if wrong(id, 'nowhere', "is '" .. status .. "' and in no set of its queue: nobody would ever take it") then
      restore(id, runner, status, job[6])
    end
    return
  end
  local place = places[1]
  if #places > 1 then
    place = right_place(id, runner, places, status, holder)
    if not wrong(id, 'several', 'is in several sets: ' .. table.concat(places, ', ')) then
      return
    end
    for _, other in ipairs(places) do
      if other ~= place then
        remove(runner, {other}, id)
      end
    end
  end
  if place == 'taken' then
    check_taken(id, runner, holder, job[4])
    return
  elseif place == 'blocked' then
    check_blocked(id, runner)
  end
  -- Whoever executes a job by other means may have reported that it has begun.
  local is_usual = status == USUAL[place] or status == 'started' or status == 'stopping'
    or status == '' and place == 'pending'
  local text = "is '" .. status .. "' and among the " .. place .. ' ones'
  if not is_usual and is_in(runner, place, id) and wrong(id, 'status', text) then
    redis.call('HSET', job_key(id), 'status', USUAL[place])
  end
end

local function check_ended(id, runner, places, job)
  if #places == 1 and places[1] == 'taken' and job[4] then
    return -- its runner wrote that, and the supervisor will see it
  end
  if #places > 0 and wrong(id, 'place', "is '" .. job[1] .. "' and still in " .. table.concat(places, ', ')) then
    leave(id, runner)
    take_back(id, runner, job[3] or '')
  end
  if not job[5] then
    if wrong(id, 'end', "is '" .. job[1] .. "', and nothing was done about its end") then
      close(id, job[1], false, false, '')
    end
  elseif not is_in(runner, 'ended', id) and wrong(id, 'ended', 'has ended and would never be forgotten') then
    local ttl_s = tonumber(redis.call('HGET', job_key(id), 'result_ttl_s')) or DEFAULT_TTL_S
    redis.call('ZADD', queue_key(runner, 'ended'), digits(now_ms + ttl_s * 1000), id)
  end
  if job[1] ~= 'error' and is_in(runner, 'dead', id) and wrong(id, 'dead', 'did not fail and is a dead letter') then
    remove(runner, {'dead'}, id)
  end
end

local function check(id, runner)
  local key = job_key(id)
  local kind = redis.call('TYPE', key).ok
  if kind == 'none' then
    if wrong(id, 'record', 'has no record') then
      remove(runner, {'jobs', 'ended', 'dead', unpack(PLACES)}, id)
    end
    return
  elseif kind ~= 'hash' then
    -- It stays in the index, so that somebody finds it.
    if wrong(id, 'type', 'has a record that is a ' .. kind .. ', not a hash') then
      remove(runner, {'ended', 'dead', unpack(PLACES)}, id)
    end
    return
  end
  local job = redis.call('HMGET', key, 'status', 'runner', 'holder', 'list', 'ended_at', 'cancel', 'group')
  local own = job[2] or ''
  if own ~= runner then
    if wrong(id, 'queue', "is in the queue of '" .. runner .. "' and for '" .. own .. "'") then
      remove(runner, {'jobs', 'ended', 'dead', unpack(PLACES)}, id)
      check(id, own)
    end
    return
  end
  if not is_in(runner, 'jobs', id) and wrong(id, 'index', 'is not in the index') then
    local since_ms = tonumber(redis.call('HGET', key, 'queued_at')) or now_ms
    redis.call('ZADD', queue_key(runner, 'jobs'), digits(since_ms * 1000), id)
  end
  local places = {}
  for _, place in ipairs(PLACES) do
    if is_in(runner, place, id) then
      places[#places + 1] = place
    end
  end
  if is_final(job[1]) then
    check_ended(id, runner, places, job)
  elseif job[1] ~= 'created' or #places > 0 then
    check_open(id, runner, places, job)
  end
  if job[7] and not is_final(redis.call('HGET', key, 'status')) then
    groups[#groups + 1] = job[7]
  end
end

local function check_held(id, runner)
  local holder = redis.pcall('HGET', job_key(id), 'holder')
  if type(holder) ~= 'string' or 'held:' .. holder ~= set or not is_in(runner, 'taken', id) then
    if wrong(id, 'held', "is in the set '" .. set .. "' of a holder that does not have it") then
      redis.call('ZREM', queue_key(runner, set), id)
    end
  end
end

-- Whether a record is that of a job that was queued. A ping of settle.lua is none, and only it has this little.
local function is_job(id)
  local marks = redis.pcall('HMGET', job_key(id), 'digest', 'foreign') -- pcall: it may be no hash
  return not marks.err and marks[1] and (marks[1] ~= '' or marks[2])
end

for i = 8, #ARGV do
  local id, runner = ARGV[i], ARGV[4]
  if source ~= 'stored' then
    if is_in(runner, set, id) then
      if source == 'held' then
        check_held(id, runner)
      elseif source == 'index' or not is_in(runner, 'jobs', id) then
        check(id, runner)
      end
    end
  elseif is_job(id) then
    runner = redis.call('HSTRLEN', job_key(id), 'runner') <= 1024 and redis.call('HGET', job_key(id), 'runner') or ''
    local is_named = redis.call('SISMEMBER', NAMESPACE .. ':queues', runner) == 1
    if not is_named and wrong('', 'name', 'is not among the names of the queues', runner) then
      redis.call('SADD', NAMESPACE .. ':queues', runner)
    end
    if not is_in(runner, 'jobs', id) then
      check(id, runner)
    end
  end
end
return {violations, groups}
