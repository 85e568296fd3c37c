-- Change the status of a job that has not ended.
--
-- KEYS[1] hash of the job
-- ARGV[1] status
-- ARGV[2] now, RFC 3339
-- returns 'ok'; 'missing': there is no such job; else the final status that it keeps
local status = redis.call('HGET', KEYS[1], 'status')
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 'missing'
end
if status == ARGV[1] then
  return 'ok'
end
if status == 'finished' or status == 'error' then
  return status
end
redis.call('HSET', KEYS[1], 'status', ARGV[1], 'updated_at', ARGV[2])
return 'ok'
