-- Queue a job that has ended once more, as if it had never been executed.
--
-- ARGV[4] id
-- returns 'ok'; 'missing'; else the status of a job that has not ended
local id = ARGV[4]
local key = job_key(id)
local job = redis.call('HMGET', key, 'status', 'runner', 'group')
local runner = job[2] or ''
if redis.call('EXISTS', key) == 0 then
  return 'missing'
elseif not is_final(job[1]) then
  return job[1] == 'dispatched' and 'ok' or job[1] or 'dispatched'
end
check_types(runner)
redis.call('HDEL', key, 'output', 'result', 'error', 'reason', 'ended_at', 'failures', 'crashes', 'progress', 'due')
redis.call('ZREM', queue_key(runner, 'ended'), id)
redis.call('ZREM', queue_key(runner, 'dead'), id)
if job[3] then
  redis.pcall('HINCRBY', NAMESPACE .. ':group:' .. job[3], 'open', 1)
  redis.pcall('HINCRBY', NAMESPACE .. ':group:' .. job[3], job[1], -1)
  redis.pcall('PERSIST', NAMESPACE .. ':group:' .. job[3])
end
make_pending(id, runner)
return 'ok'
