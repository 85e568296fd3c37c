-- What a supervisor has to know of a queue, in one look.
--
-- ARGV[4] runner
-- ARGV[5] milliseconds since the deadline of a job after which it is named as overdue
-- returns {holders and what is known of each, alternating; ids of jobs that are overdue; ids of those taken that are
--   being stopped; number of pending ones; number of taken ones; when the oldest pending one was queued, or false;
--   when the next delayed one is due, or false; how many were ever queued}
local runner = ARGV[4]
promote(runner)
trim(runner, 100)
local taken, pending = queue_key(runner, 'taken'), queue_key(runner, 'pending')
local stopping = {}
for _, id in ipairs(redis.call('ZRANGE', taken, 0, 999)) do
  if redis.call('HEXISTS', job_key(id), 'cancel') == 1 then
    stopping[#stopping + 1] = id
  end
end
local oldest = redis.call('ZRANGE', pending, 0, 0)[1]
return {
  redis.call('HGETALL', queue_key(runner, 'holders')),
  redis.call('ZRANGEBYSCORE', taken, '-inf', digits(now_ms - ARGV[5]), 'LIMIT', 0, 100),
  stopping,
  redis.call('ZCARD', pending),
  redis.call('ZCARD', taken),
  oldest and redis.call('HGET', job_key(oldest), 'queued_at') or false,
  redis.call('ZRANGE', queue_key(runner, 'delayed'), 0, 0, 'WITHSCORES')[2] or false,
  tonumber(redis.call('HGET', queue_key(runner, 'counts'), 'queued')) or 0,
}
