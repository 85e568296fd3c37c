-- Put a job that was taken and not ended back to the head of its queue, once.
--
-- KEYS[1] hash of the job
-- KEYS[2] queue
-- ARGV[1] id
-- ARGV[2] now, RFC 3339
-- ARGV[3] how many ids at the head are searched for it
-- returns 'ok': it is in the queue; 'missing': there is no such job; else the final status that it keeps
local status = redis.call('HGET', KEYS[1], 'status')
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 'missing'
end
if status == 'finished' or status == 'error' then
  return status
end
-- The answer to an earlier call may have been lost; then the id is near the head.
if not redis.call('LPOS', KEYS[2], ARGV[1], 'MAXLEN', ARGV[3]) then
  redis.call('LPUSH', KEYS[2], ARGV[1])
end
redis.call('HSET', KEYS[1], 'status', 'dispatched', 'queue', KEYS[2], 'updated_at', ARGV[2])
return 'ok'
