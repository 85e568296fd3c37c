-- End jobs that a process has executed, and give it others.
--
-- ARGV[4] runner
-- ARGV[5] id of the process, see register.lua
-- ARGV[6] most jobs to give
-- ARGV[7] '1': also give again those that it has; its last call was not answered, or this is its first one
-- ARGV[8] a word that the process makes up: a new one in each call with '1' in ARGV[7], the same in those that follow.
--   A call that was given up may still arrive, after others; it has an old word, and changes nothing
-- ARGV[9] number of ended jobs n
-- ARGV[10] and on, for each: id, attempt, 'finished', 'error', 'failed' (an error that no retry mends), 'crashed' (the
--   end of whoever executed it, by the job's doing) or 'released' (not executed: another is to take it), its text.
--   Behind the word may be ':' and why, in a word
-- then: name and longest length in bytes of each field to read of a job, alternating
-- returns 'fenced'; 'late' when the word is an old one; or {answers, jobs, when to look again}: for each ended job
--   'ok'; its final status if it has another one; 'missing'; or 'superseded': it is no longer this process's. For each
--   job given {id, attempt, values...}; with a number for a value that is too long. The time is in milliseconds, or false
local runner, holder, want, is_again, ended = ARGV[4], ARGV[5], tonumber(ARGV[6]), ARGV[7] == '1', tonumber(ARGV[9])
if redis.call('HEXISTS', queue_key(runner, 'holders'), holder) == 0 then
  return 'fenced'
end
check_holder(runner, holder)
local word = redis.call('HGET', queue_key(runner, 'words'), holder)
if is_again or not word then
  redis.call('HSET', queue_key(runner, 'words'), holder, ARGV[8])
elseif word ~= ARGV[8] then
  return 'late'
end

local function finish(id, attempt, what, value)
  local outcome, reason = string.match(what, '^(%a+):?(.*)$')
  -- pcall: one key that somebody made something else must not keep all other jobs from being ended.
  local job = redis.pcall('HMGET', job_key(id), 'status', 'attempt', 'cancel')
  local status = job[1]
  if not status then
    take_back(id, runner, holder)
    return 'missing'
  elseif is_final(status) then
    take_back(id, runner, holder)
    local is_same = status == outcome or (status == 'error' and (outcome == 'failed' or outcome == 'crashed'))
    is_same = is_same and job[2] == attempt
    return is_same and 'ok' or status
  elseif job[2] ~= attempt or not take_back(id, runner, holder) then
    return 'superseded'
  end
  if outcome == 'released' then
    recover(id, runner, reason ~= '' and reason or outcome, '', false)
  elseif outcome == 'crashed' then
    recover(id, runner, reason ~= '' and reason or outcome, value, true)
  elseif outcome == 'finished' then
    close(id, 'finished', 'output', value, '')
  elseif job[3] then
    stopped(id, runner, job[3])
  else
    fail(id, runner, value, reason ~= '' and reason or 'failed', outcome == 'failed')
  end
  return 'ok'
end

local answers, jobs = {}, {}
for i = 1, ended do
  answers[i] = finish(unpack(ARGV, 6 + 4 * i, 9 + 4 * i))
end

local first_field = 10 + 4 * ended

local function give(id)
  local values = read(job_key(id), ARGV, first_field)
  table.insert(values, 1, id)
  table.insert(values, 2, redis.call('HGET', job_key(id), 'attempt'))
  jobs[#jobs + 1] = values
end

if is_again then
  for _, id in ipairs(redis.call('ZRANGE', queue_key(runner, 'held:' .. holder), 0, -1)) do
    if redis.call('TYPE', job_key(id)).ok == 'hash' then
      give(id)
    else
      take_back(id, runner, holder)
    end
  end
end
local _, again = take(runner, want, function(id, timeout_s)
  local key = job_key(id)
  redis.call('HINCRBY', key, 'attempt', 1)
  redis.call('HSET', key, 'status', 'started', 'holder', holder, 'started_at', digits(now_ms), 'updated_at', NOW)
  hand_over(id, runner, holder, digits(now_ms + timeout_s * 1000))
  give(id)
end)
return {answers, jobs, again}
