-- What a supervisor has to know of a queue, in one look.
--
-- ARGV[4] runner
-- ARGV[5] milliseconds since the deadline of a job after which it is named as overdue
-- ARGV[6] milliseconds without a sign of life after which a process is named as silent
-- returns {holders and what is known of each, alternating; ids of jobs that are overdue; ids of those taken that are
--   being stopped; number of pending ones; number of taken ones; when the oldest pending one was queued, or false;
--   when the next delayed one is due, or false; how many were ever queued; processes that are silent}
local runner = ARGV[4]
promote(runner)
trim(runner, 100)
local taken, pending = queue_key(runner, 'taken'), queue_key(runner, 'pending')
local stopping = {}
for _, id in ipairs(redis.call('ZRANGE', taken, 0, 999)) do
  -- pcall: what somebody made something else than a hash is nothing to stop.
  if redis.pcall('HEXISTS', job_key(id), 'cancel') == 1 then
    stopping[#stopping + 1] = id
  end
end
local oldest = redis.call('ZRANGE', pending, 0, 0)[1]
local since = oldest and redis.pcall('HGET', job_key(oldest), 'queued_at')
return {
  redis.call('HGETALL', queue_key(runner, 'holders')),
  redis.call('ZRANGEBYSCORE', taken, '-inf', digits(now_ms - ARGV[5]), 'LIMIT', 0, 100),
  stopping,
  redis.call('ZCARD', pending),
  redis.call('ZCARD', taken),
  type(since) == 'string' and since or false,
  redis.call('ZRANGE', queue_key(runner, 'delayed'), 0, 0, 'WITHSCORES')[2] or false,
  tonumber(redis.call('HGET', queue_key(runner, 'counts'), 'queued')) or 0,
  redis.call('ZRANGEBYSCORE', queue_key(runner, 'beats'), '-inf', digits(now_ms - ARGV[6]), 'LIMIT', 0, 100),
}
