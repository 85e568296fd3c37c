-- Forget a job that nobody executes.
--
-- KEYS[1] hash of the job
-- KEYS[2] index of all jobs
-- ARGV[1] id
-- returns 'ok'; 'missing': there is no such job; 'started': a runner executes it
--
-- The queue's name is known only here, from the hash, so that key is not declared; Redis Cluster would mind.
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then
  redis.call('ZREM', KEYS[2], ARGV[1])
  return 'missing'
end
if kind == 'hash' then
  if redis.call('HGET', KEYS[1], 'status') == 'started' then
    return 'started'
  end
  local queue = redis.call('HGET', KEYS[1], 'queue')
  if queue then
    -- pcall: another writer may have put any name there.
    redis.pcall('LREM', queue, 0, ARGV[1])
  end
end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
return 'ok'
