-- Note that a process lives, and how far its jobs are.
--
-- ARGV[4] runner
-- ARGV[5] id of the process, see register.lua
-- ARGV[6] and on: id, attempt and progress, JSON, of a job
-- returns 'ok', or 'fenced'
local runner, holder = ARGV[4], ARGV[5]
if redis.call('HEXISTS', queue_key(runner, 'holders'), holder) == 0 then
  return 'fenced'
end
check_holder(runner, holder)
redis.call('ZADD', queue_key(runner, 'beats'), digits(now_ms), holder)
for i = 6, #ARGV, 3 do
  local id, attempt, progress = unpack(ARGV, i, i + 2)
  local is_held = redis.call('ZSCORE', queue_key(runner, 'held:' .. holder), id)
  if is_held and redis.call('HGET', job_key(id), 'attempt') == attempt then
    redis.call('HSET', job_key(id), 'progress', progress, 'updated_at', NOW)
  end
end
return 'ok'
