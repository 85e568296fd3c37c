-- How full queues are, what went through them and how long it took: for metrics, of many at once.
--
-- KEYS[1]  the names of all queues
-- ARGV[4]  as MessagePack: the runners whose queues are meant
-- returns for each {counts: names and values alternating; numbers of pending, delayed, blocked, taken and dead jobs;
--   for how many milliseconds the oldest pending job has waited, or false}, or false when its keys cannot be read
local function oldest_of(runner)
  local oldest
  for level = 0, HIGHEST_PRIORITY do
    local range = {digits(level * LEVEL), '(' .. digits((level + 1) * LEVEL)}
    local id = redis.call('ZRANGEBYSCORE', queue_key(runner, 'pending'), range[1], range[2], 'LIMIT', 0, 1)[1]
    local since = id and tonumber(redis.call('HGET', job_key(id), 'queued_at'))
    oldest = since and math.min(oldest or since, since) or oldest
  end
  return oldest and digits(math.max(0, now_ms - oldest))
end

local function figures_of(runner)
  local sizes = {}
  for i, place in ipairs({'pending', 'delayed', 'blocked', 'taken', 'dead'}) do
    sizes[i] = redis.call('ZCARD', queue_key(runner, place))
  end
  return {redis.call('HGETALL', queue_key(runner, 'counts')), sizes, sizes[1] > 0 and oldest_of(runner)}
end

local found = {}
for i, runner in ipairs(cmsgpack.unpack(ARGV[4])) do
  local is_read, figures = pcall(figures_of, runner) -- one queue of another type must not hide the others
  found[i] = is_read and figures
end
return found
