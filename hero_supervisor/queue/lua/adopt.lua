-- Put the jobs that others have pushed into a runner's list into its queue.
--
-- ARGV[4] runner
-- ARGV[5] the list
-- ARGV[6] most ids to look at
-- returns how many ids are left
local runner, list = ARGV[4], ARGV[5]
for _ = 1, tonumber(ARGV[6]) do
  local id = redis.call('LPOP', list)
  if not id then
    break
  end
  if redis.call('TYPE', job_key(id)).ok == 'hash' then
    local job = redis.call('HMGET', job_key(id), 'status', 'digest')
    if not job[2] and not is_final(job[1]) then
      redis.call('HSET', job_key(id), 'runner', runner, 'foreign', '1', 'digest', '')
      redis.call('ZADD', queue_key(runner, 'jobs'), digits(now_ms * 1000), id)
      make_pending(id, runner)
    end
  end
end
return redis.call('LLEN', list)
