-- See what has become of the jobs of a process that takes ids with BLPOP and writes into the jobs' hashes itself, take
-- what others have pushed to its list into the queue, and put further jobs into the list. One call for all three:
-- each job of such a process needs it once.
--
-- ARGV[4] runner
-- ARGV[5] name of the process, the same for each of its runs
-- ARGV[6] its list
-- ARGV[7] what is known of it, JSON
-- ARGV[8] the run that is under way, '' when none is
-- ARGV[9] what is known of the run that will take what is put into the list now: that run, or '+' and how often its
--   unit will have been restarted; in a shared list a word for each of its runs
-- ARGV[10] '+' and how often the unit of the run under way has been restarted
-- ARGV[11] how many jobs it executes at a time; '' when several processes share the list: then nobody knows whose an
--   id is that is out of it
-- ARGV[12] how many jobs it may have, in the list and out of it, or in a shared list; '0' also takes back what is in
--   the list
-- ARGV[13] why its last run ended, in a word; ARGV[14] the same as a sentence
-- ARGV[15] '1' if that counts as a crash of the jobs it had
-- ARGV[16] and on: jobs that a run had which is over
-- returns {ids that have ended, ids that it had and that others may take now, ids that it executes, all that it has,
--   those it executes that are to be stopped, when to look again in milliseconds or false, number of ids in the list
--   that were not looked at}
--
-- Of the ids that are neither in the list nor ended, these are executed no more:
-- - those that an earlier run was seen to have: ``run`` in a job's hash is the one that was first seen to have it;
-- - all but the last ones: a process that takes the next id has done with, or lost, the one before.
--
-- Of an id that was first seen to be taken when another run was under way than the one that it was offered to, nobody
-- knows which of them has it. If there is no next job that would tell, a ping is put into the list: a process that takes
-- it does not execute the other. It is no job of the queue; its answer is not read.
--
-- Where no ping can tell, such a job has until its deadline. If it was lost, its time is not what it died of: whoever may
-- have it is ended, and it is tried again.
local runner, holder, list, run, coming, born = ARGV[4], ARGV[5], ARGV[6], ARGV[8], ARGV[9], ARGV[10]
local most, window = tonumber(ARGV[11]) or math.huge, tonumber(ARGV[12])
local death = {ARGV[13], ARGV[14], ARGV[15] == '1'}
local held, taken = queue_key(runner, 'held:' .. holder), queue_key(runner, 'taken')
local SCANNED, MAX_TEXT, PING_TTL_S = 1000, 1048576, 600
check_holder(runner, holder)
local ping_key = queue_key(runner, 'ping:' .. holder)
local ping = redis.call('HGET', ping_key, 'id')
local length = redis.call('LLEN', list)

-- What this makes pending is taken below, so nobody is to be called; and the call that brought us here was heard.
wake = function() end
redis.call('DEL', queue_key(runner, 'wake'))

-- The ids in the list that were put there for this process, and the others.
local listed, is_listed, foreign, is_clean = {}, {}, {}, true
for _, id in ipairs(redis.call('LRANGE', list, 0, SCANNED - 1)) do
  if is_listed[id] then
    is_clean = false -- once is enough
  elseif id == ping or redis.call('ZSCORE', held, id) then
    is_listed[id] = true
    listed[#listed + 1] = id
  elseif redis.call('ZSCORE', taken, id) or not is_id(id) or redis.call('EXISTS', job_key(id)) == 0 then
    listed[#listed + 1] = id -- another's, or what only its maker knows
    is_listed[id] = true
  else
    foreign[#foreign + 1] = id
    is_clean = false
  end
end

-- What others have pushed goes into the queue, like any job.
if not is_clean then
  redis.call('LTRIM', list, SCANNED, -1)
  for i = #listed, 1, -1 do
    redis.call('LPUSH', list, listed[i])
  end
  for _, id in ipairs(foreign) do
    adopt(id, runner)
  end
end

-- Where an id may be that is not among those looked at.
local function is_further_down(id)
  return length > SCANNED and redis.call('LPOS', list, id)
end

local ended, lost, out, stopping = {}, {}, {}, {}
local is_over = {}
for i = 16, #ARGV do
  is_over[ARGV[i]] = true
end

local function text_of(id, field)
  local size = redis.call('HSTRLEN', job_key(id), field)
  return size <= MAX_TEXT and redis.call('HGET', job_key(id), field) or 'cannot keep this: it has ' .. size .. ' bytes'
end

-- The process has ended a job.
local function conclude(id, status, cancel)
  take_back(id, runner, holder)
  ended[#ended + 1] = id
  if status == 'error' and cancel then
    stopped(id, runner, cancel)
  elseif status == 'error' then
    fail(id, runner, text_of(id, 'error') or '', 'failed')
  else
    local is_foreign = redis.call('HEXISTS', job_key(id), 'foreign') == 1
    close(id, status, false, is_foreign and (text_of(id, 'output') or text_of(id, 'result')), '')
  end
end

local function lose(id, reason, text, is_counted)
  take_back(id, runner, holder)
  recover(id, runner, reason, text, is_counted)
  lost[#lost + 1] = id
end

-- The process has taken another id after this one, and executes one at a time.
local function drop_those_before()
  while most == 1 and #out > 0 do
    lose(table.remove(out, 1), 'dropped', 'its runner took another job without having ended it', true)
  end
end

-- A job is out of the list: note who has it, and until when it may.
local function see_out(id, status, timeout, seen)
  local deadline = redis.call('ZSCORE', taken, id)
  if not seen and run ~= '' then
    redis.call('HSET', job_key(id), 'run', run)
  end
  drop_those_before()
  local is_start = status == 'started' and redis.call('HEXISTS', job_key(id), 'started_at') == 0
  if is_start then
    redis.call('HSET', job_key(id), 'started_at', digits(now_ms))
  end
  if is_start or deadline == 'inf' then
    redis.call('ZADD', taken, digits(now_ms + bounded(timeout, 1, MAX_S, DEFAULT_TIMEOUT_S) * 1000), id)
  end
  out[#out + 1] = id
end

-- A job is in the list: whatever takes it now is no run that was over before.
local function see_listed(id, offered)
  if window == 0 then
    redis.call('LREM', list, 0, id)
    take_back(id, runner, holder)
    redis.call('HDEL', job_key(id), 'holder', 'list')
    make_pending(id, runner)
  elseif run ~= '' and offered ~= run and offered ~= born then
    redis.call('HSET', job_key(id), 'offered', run)
  elseif most == math.huge and offered ~= coming then
    redis.call('HSET', job_key(id), 'offered', coming)
  end
end

local function settle(id)
  local job = redis.pcall('HMGET', job_key(id), 'status', 'cancel', 'run', 'timeout', 'offered')
  local status, cancel, seen = job[1], job[2], job[3]
  if job.err or not status then
    take_back(id, runner, holder)
    redis.call('LREM', list, 0, id)
  elseif is_final(status) then
    if redis.call('LREM', list, 0, id) == 0 then
      drop_those_before()
    end
    conclude(id, status, cancel)
  elseif is_listed[id] or is_further_down(id) then
    see_listed(id, job[5])
  elseif is_over[id] or (seen and run ~= '' and seen ~= run) then
    lose(id, unpack(death))
  else
    see_out(id, status, job[4], seen)
  end
end

for _, id in ipairs(redis.call('ZRANGE', held, 0, -1)) do
  settle(id)
end
while #out > most do
  lose(table.remove(out, 1), 'dropped', 'its runner took another job without having ended it', true)
end

-- What the process has not ended when it takes the ping, the run before had.
if ping and not is_listed[ping] and not is_further_down(ping) then
  local asked_ms = tonumber(redis.call('HGET', ping_key, 'at'))
  for i = #out, 1, -1 do
    if tonumber(redis.call('ZSCORE', held, out[i])) < asked_ms then
      lose(table.remove(out, i), unpack(death))
    end
  end
  redis.call('DEL', ping_key)
elseif ping and window == 0 then
  redis.call('LREM', list, 0, ping)
  redis.call('DEL', ping_key, job_key(ping))
end

-- Fill the list. Places in ``held`` are the order in the list, so no two are the same.
local last = tonumber(redis.call('ZRANGE', held, -1, -1, 'WITHSCORES')[2]) or 0
local room = window - redis.call('ZCARD', held) + (most == math.huge and #out or 0)
local again = promote(runner)
if room > 0 then
  local _
  _, again = take(runner, room, function(id)
    redis.call('HINCRBY', job_key(id), 'attempt', 1)
    redis.call('HDEL', job_key(id), 'run', 'started_at')
    redis.call('HSET', job_key(id), 'holder', holder, 'list', list, 'offered', coming, 'updated_at', NOW)
    last = math.max(now_ms, last + 0.001)
    redis.call('ZADD', taken, '+inf', id)
    redis.call('ZADD', held, string.format('%.3f', last), id)
    redis.call('RPUSH', list, id)
  end)
end

-- Whether a run that is over may have had a job that is out of the list, by what it was offered to.
local function is_in_doubt(offered)
  if most == math.huge then
    for one in offered:gmatch('%S+') do
      if not coming:find(one, 1, true) then
        return true
      end
    end
    return false
  end
  return run ~= '' and offered ~= run and offered ~= born and offered ~= '' -- '': others have pushed it; it was taken at once
end

-- Put a ping into the list for a job of which it is not known whether it is executed.
local function ask(id)
  last = math.max(now_ms, last + 0.001)
  ping = 'ping.' .. runner .. '.' .. string.format('%.0f', last * 1000)
  redis.call('HSET', job_key(ping), 'id', ping, 'caller_id', '', 'context_id', '', 'payload', 'ping', 'runner', runner,
    'executor', '', 'timeout', '60', 'env_vars', '{}', 'created_at', NOW, 'updated_at', NOW, 'status', 'dispatched',
    'digest', '')
  local timeout = redis.call('HGET', job_key(id), 'timeout')
  redis.call('EXPIRE', job_key(ping), bounded(timeout, 1, MAX_S, DEFAULT_TIMEOUT_S) + PING_TTL_S)
  redis.call('HSET', ping_key, 'id', ping, 'at', string.format('%.3f', last))
  redis.call('RPUSH', list, ping)
end

for _, id in ipairs(out) do
  local job = redis.call('HMGET', job_key(id), 'cancel', 'offered')
  if job[1] == 'timeout' and job[2] == '?' then
    redis.call('HSET', job_key(id), 'cancel', 'unheard')
  elseif not job[1] and is_in_doubt(job[2] or '') then
    redis.call('HSET', job_key(id), 'offered', '?')
    if most == 1 and window > 0 and #out == 1 and not ping and redis.call('LLEN', list) == 0 then
      ask(id)
    end
  end
  if job[1] then
    stopping[#stopping + 1] = id
  end
end
if redis.call('HGET', queue_key(runner, 'holders'), holder) ~= ARGV[7] then
  redis.call('HSET', queue_key(runner, 'holders'), holder, ARGV[7])
end
if window == 0 and redis.call('EXISTS', held) == 0 then
  redis.call('HDEL', queue_key(runner, 'holders'), holder)
end

local all = redis.call('ZRANGE', held, 0, -1)
return {ended, lost, out, all, stopping, again or false, math.max(0, length - SCANNED)}
