-- Enter a process that will take jobs of a queue, once. It is known until it is recovered from.
--
-- ARGV[4] runner
-- ARGV[5] id of the process: no other run of any process ever has it
-- ARGV[6] what is known of it, JSON
-- returns 'ok', or 'fenced': its jobs have been given to others, and it may not take or end any
local runner, holder = ARGV[4], ARGV[5]
if redis.call('ZSCORE', queue_key(runner, 'fenced'), holder) then
  return 'fenced'
end
redis.call('SADD', NAMESPACE .. ':queues', runner)
redis.call('HSET', queue_key(runner, 'holders'), holder, ARGV[6])
redis.call('ZADD', queue_key(runner, 'beats'), digits(now_ms), holder)
return 'ok'
