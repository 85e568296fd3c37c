-- End a job with its output or its error, once.
--
-- KEYS[1] hash of the job
-- KEYS[2] reply list; without it nobody is told by a reply
-- ARGV[1] final status
-- ARGV[2] now, RFC 3339
-- ARGV[3] name of the field: 'output' or 'error'
-- ARGV[4] its text
-- ARGV[5] seconds that the reply list is kept
-- returns 'ok': ended so, now or by an earlier call; 'missing': there is no such job; else its final status
local status = redis.call('HGET', KEYS[1], 'status')
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 'missing'
end
if status == 'finished' or status == 'error' then
  if status == ARGV[1] and redis.call('HGET', KEYS[1], ARGV[3]) == ARGV[4] then
    return 'ok'
  end
  return status
end
redis.call('HSET', KEYS[1], 'status', ARGV[1], ARGV[3], ARGV[4], 'updated_at', ARGV[2])
if KEYS[2] then
  -- pcall: the result is stored already, and a reply key of another type must not make that look like a failure.
  redis.pcall('LPUSH', KEYS[2], ARGV[4])
  redis.pcall('EXPIRE', KEYS[2], ARGV[5])
end
return 'ok'
