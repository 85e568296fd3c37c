-- See what has become of the jobs of a process that writes into their hashes itself (dispatch.lua).
--
-- ARGV[4] runner
-- ARGV[5] name of the process
-- ARGV[6] its list
-- ARGV[7] how many jobs it executes at a time; '0' when it runs no more, and has none
-- ARGV[8] why it ended, or dropped a job, in a word
-- ARGV[9] the same as a sentence
-- ARGV[10] '1' if that counts as a crash of the jobs it had
-- returns {ids that have ended, ids that it had and that others may take now, ids that it executes}
--
-- A process that takes the next id has done with, or lost, the one before: so of those that are neither in the list
-- nor ended it can only have the last ones that were put there.
local runner, holder, list, most = ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7])
local held = queue_key(runner, 'held:' .. holder)
local waiting, foreign = {}, {}
for _, id in ipairs(redis.call('LRANGE', list, 0, 999)) do
  if redis.call('ZSCORE', held, id) then
    waiting[id] = true
  else
    foreign[#foreign + 1] = id
  end
end
local ended, lost, out = {}, {}, {}

local function settle(id)
  local job = redis.call('HMGET', job_key(id), 'status', 'output', 'result', 'error', 'cancel')
  local status = job[1]
  if not status then
    take_back(id, runner, holder)
  elseif is_final(status) then
    take_back(id, runner, holder)
    redis.call('LREM', list, 0, id)
    ended[#ended + 1] = id
    if job[5] and status == 'error' then
      stopped(id, runner, job[5])
    elseif status == 'error' then
      fail(id, runner, job[4] or '', 'failed')
    else
      close(id, status, false, false, '')
    end
  elseif not waiting[id] then
    out[#out + 1] = id
    if status == 'started' and redis.call('ZSCORE', queue_key(runner, 'taken'), id) == 'inf' then
      local timeout_s = tonumber(redis.call('HGET', job_key(id), 'timeout')) or DEFAULT_TIMEOUT_S
      redis.call('ZADD', queue_key(runner, 'taken'), digits(now_ms + timeout_s * 1000), id)
      redis.call('HSET', job_key(id), 'started_at', digits(now_ms))
    end
  end
end

for _, id in ipairs(redis.call('ZRANGE', held, 0, -1)) do
  settle(id)
end
while #out > most do
  local id = table.remove(out, 1)
  take_back(id, runner, holder)
  recover(id, runner, ARGV[8], ARGV[9], ARGV[10] == '1')
  lost[#lost + 1] = id
end
-- What others have pushed goes into the queue, like any job.
for _, id in ipairs(foreign) do
  redis.call('LREM', list, 0, id)
  local job = redis.call('HMGET', job_key(id), 'status', 'digest', 'runner')
  local is_known = job[2] or redis.call('EXISTS', job_key(id)) == 0
  if not is_known and not is_final(job[1] or 'dispatched') then
    redis.call('HSET', job_key(id), 'runner', runner, 'foreign', '1', 'digest', '')
    redis.call('ZADD', queue_key(runner, 'jobs'), digits(now_ms * 1000), id)
    make_pending(id, runner)
  end
end
return {ended, lost, out}
