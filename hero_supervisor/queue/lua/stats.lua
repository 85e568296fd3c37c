-- How full a queue is, and what went through it.
--
-- ARGV[4] runner
-- returns {settings, counts: names and values alternating; numbers of pending, delayed, blocked, taken, dead and all
--   known jobs; when the oldest pending job was queued, or false; now}
local runner = ARGV[4]
local oldest
for level = 0, HIGHEST_PRIORITY do
  local range = {digits(level * LEVEL), '(' .. digits((level + 1) * LEVEL)}
  local id = redis.call('ZRANGEBYSCORE', queue_key(runner, 'pending'), range[1], range[2], 'LIMIT', 0, 1)[1]
  local since = id and tonumber(redis.call('HGET', job_key(id), 'queued_at'))
  oldest = since and math.min(oldest or since, since) or oldest
end
local sizes = {}
for i, place in ipairs({'pending', 'delayed', 'blocked', 'taken', 'dead', 'jobs'}) do
  sizes[i] = redis.call('ZCARD', queue_key(runner, place))
end
return {
  redis.call('HGETALL', queue_key(runner, 'settings')),
  redis.call('HGETALL', queue_key(runner, 'counts')),
  sizes,
  oldest and digits(oldest) or false,
  digits(now_ms),
}
