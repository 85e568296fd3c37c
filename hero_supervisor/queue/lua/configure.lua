-- Change what a queue allows.
--
-- ARGV[4] runner
-- ARGV[5] and on: name and new value of each setting, '' for its default
-- returns names and values of all settings, alternating
local runner = ARGV[4]
local settings = queue_key(runner, 'settings')
redis.call('SADD', NAMESPACE .. ':queues', runner)
for i = 5, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', settings, ARGV[i])
  else
    redis.call('HSET', settings, ARGV[i], ARGV[i + 1])
  end
end
wake(runner)
return redis.call('HGETALL', settings)
