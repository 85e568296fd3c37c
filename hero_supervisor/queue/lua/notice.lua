-- Enter jobs that others have pushed and that a process took before we saw them in its list.
--
-- Nothing tells whose they are but that somebody began them: they have no record of ours, and are begun or ended.
--
-- ARGV[4] runner
-- ARGV[5] name of the process that must have them
-- ARGV[6] its list
-- ARGV[7] '1' if a job that names no runner can only be this one's
-- ARGV[8] and on: ids of jobs whose hashes have changed
-- returns how many were entered
local runner, holder, list, is_only = ARGV[4], ARGV[5], ARGV[6], ARGV[7] == '1'
check_holder(runner, holder)
local entered = 0
for i = 8, #ARGV do
  local id = ARGV[i]
  local job = redis.pcall('HMGET', job_key(id), 'status', 'runner', 'digest')
  local is_begun = not job.err and (job[1] == 'started' or is_final(job[1]))
  local is_theirs = is_begun and not job[3] and (job[2] == runner or (is_only and (job[2] or '') == ''))
  if is_theirs and is_id(id) and not redis.call('LPOS', list, id) then
    enter(id, runner)
    redis.call('HSET', job_key(id), 'attempt', 1, 'holder', holder, 'list', list, 'offered', '')
    -- It was taken before all that is in the list: its place among those that the process has says so.
    redis.call('ZADD', queue_key(runner, 'taken'), '+inf', id)
    redis.call('ZADD', queue_key(runner, 'held:' .. holder), string.format('%.9f', (now_ms + entered) / 1e9), id)
    entered = entered + 1
  end
end
return entered
