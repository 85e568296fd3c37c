-- Put the id of a stored job into a queue, once.
--
-- KEYS[1] hash of the job
-- KEYS[2] queue
-- ARGV[1] id
-- ARGV[2] now, RFC 3339
-- returns 'ok': done, now or by an earlier call; 'missing': there is no such job; else the status it is in
redis.call('LLEN', KEYS[2])
local job = redis.call('HMGET', KEYS[1], 'status', 'queue')
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 'missing'
end
if job[1] ~= 'created' then
  return job[2] == KEYS[2] and 'ok' or (job[1] or 'dispatched')
end
redis.call('HSET', KEYS[1], 'status', 'dispatched', 'queue', KEYS[2], 'updated_at', ARGV[2])
redis.call('RPUSH', KEYS[2], ARGV[1])
return 'ok'
