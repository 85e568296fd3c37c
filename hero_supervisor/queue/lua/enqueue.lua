-- Store jobs of one runner and put them into its queue, once, however often it is asked.
--
-- ARGV[4] runner
-- ARGV[5] 'queue', or 'store': then they are stored only
-- ARGV[6] most jobs that the queue may hold
-- ARGV[7] seconds that an idempotency key is kept
-- ARGV[8] and on, each job as MessagePack: a map of id, digest of its content, time of creation in microseconds
--   (created), prerequisites: ids, fields: names and values of its hash, alternating, and perhaps at: time before
--   which it is not executed in milliseconds, delay in milliseconds, idem: idempotency key, group
-- returns for each job {answer, id}; the answers: 'ok': done, now or by an earlier call, as a job of this id;
--   'exists': another job has this id; 'full'; 'no-prerequisite': the job of this id does not exist; 'busy': too many
--   wait for the job of this id; 'corrupt': what is named instead of an id is not what it should be
--
-- The caller may not have got our answer and ask again: the digest tells its job from somebody else's of the same
-- id.
local MAX_DEPENDENTS = 10000
local runner, is_queued, max_length, idempotency_s = ARGV[4], ARGV[5] == 'queue', tonumber(ARGV[6]), ARGV[7]
local pending, index = queue_key(runner, 'pending'), queue_key(runner, 'jobs')
local length = redis.call('ZCARD', pending) + redis.call('ZCARD', queue_key(runner, 'delayed'))
  + redis.call('ZCARD', queue_key(runner, 'blocked'))
max_length = tonumber(redis.call('HGET', queue_key(runner, 'settings'), 'max_length')) or max_length
local function store(job)
  redis.call('HSET', job_key(job.id), 'digest', job.digest, 'status', 'created', unpack(job.fields))
  redis.call('ZADD', index, digits(job.created), job.id)
  if job.group then
    local group = NAMESPACE .. ':group:' .. job.group
    redis.call('HINCRBY', group, 'open', 1)
    redis.call('PERSIST', group)
  end
  if job.idem then
    redis.call('SET', queue_key(runner, 'idem:' .. job.idem), job.id, 'EX', idempotency_s)
  end
end

-- Find out for whom a job waits; returns an answer why it cannot, or which have not ended and why it must end.
local function unmet(job)
  local open, failed, seen = {}, nil, {}
  for _, id in ipairs(job.prerequisites) do
    local dependents = NAMESPACE .. ':dependents:' .. id
    if not has_type(job_key(id), 'hash') or not has_type(dependents, 'set') then
      return {'corrupt', 'prerequisite ' .. id}
    end
    local status = redis.call('HGET', job_key(id), 'status')
    if not status and redis.call('EXISTS', job_key(id)) == 0 then
      return {'no-prerequisite', id}
    elseif redis.call('SCARD', dependents) >= MAX_DEPENDENTS and redis.call('SISMEMBER', dependents, job.id) == 0 then
      return {'busy', id}
    elseif status == 'error' or status == 'cancelled' then
      failed = failed or {id, status}
    elseif status ~= 'finished' and not seen[id] then
      open[#open + 1] = id
    end
    seen[id] = true
  end
  return nil, open, failed
end

local function queue(job, open, failed)
  local key = job_key(job.id)
  count(runner, 'queued')
  if job.at or job.delay then
    redis.call('HSET', key, 'due', digits(job.at or now_ms + job.delay))
  end
  if failed and redis.call('HGET', key, 'on_prerequisite_failure') ~= 'run' then
    local why = "cannot execute: its prerequisite '" .. failed[1] .. "' ended as '" .. failed[2] .. "'"
    close(job.id, 'cancelled', 'error', why, 'prerequisite')
  elseif #open > 0 then
    redis.call('HSET', key, 'status', 'waiting_for_prerequisites', 'unmet', #open, 'updated_at', NOW)
    redis.call('ZADD', queue_key(runner, 'blocked'), digits(now_ms), job.id)
    for _, id in ipairs(open) do
      redis.call('SADD', NAMESPACE .. ':dependents:' .. id, job.id)
    end
  else
    admit(job.id, runner)
  end
  length = length + 1
end

local function enqueue(job)
  if job.group and not has_type(NAMESPACE .. ':group:' .. job.group, 'hash') then
    job.id = 'group ' .. job.group
    return 'corrupt'
  elseif job.idem and not has_type(queue_key(runner, 'idem:' .. job.idem), 'string') then
    job.id = 'idempotency key ' .. job.idem
    return 'corrupt'
  elseif not has_type(job_key(job.id), 'hash') then
    return 'exists'
  end
  local known = job.idem and redis.call('GET', queue_key(runner, 'idem:' .. job.idem))
  if known and redis.call('TYPE', job_key(known)).ok == 'hash' then
    -- One that was only stored is queued by whoever stored it: its options need not be those of this one.
    if known ~= job.id and redis.call('HGET', job_key(known), 'status') ~= 'created' then
      job.digest = redis.call('HGET', job_key(known), 'digest')
    end
    job.id = known
  end
  local found = redis.call('HMGET', job_key(job.id), 'digest', 'status', 'runner')
  local is_new = redis.call('EXISTS', job_key(job.id)) == 0
  if not is_new and (found[1] ~= job.digest or found[3] ~= runner) then
    return 'exists'
  elseif not is_new and (not is_queued or found[2] ~= 'created') then
    return 'ok'
  elseif is_queued and length >= max_length then
    return 'full'
  end
  local refusal, open, failed = unmet(job)
  if refusal then
    job.id = refusal[2]
    return refusal[1]
  end
  if is_new then
    store(job)
  end
  if is_queued then
    queue(job, open, failed)
  end
  return 'ok'
end

redis.call('SADD', NAMESPACE .. ':queues', runner)
local answers = {}
for i = 8, #ARGV do
  local job = cmsgpack.unpack(ARGV[i])
  local answer = enqueue(job)
  answers[#answers + 1] = {answer, job.id}
end
return answers
