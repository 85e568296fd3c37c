-- Put jobs into the list of a process that takes their ids with BLPOP, and writes into their hashes itself.
--
-- ARGV[4] runner
-- ARGV[5] name of the process, the same for each of its runs
-- ARGV[6] the list
-- ARGV[7] how many jobs it may have, in the list and out of it
-- returns {ids, when to look again}
local runner, holder, list = ARGV[4], ARGV[5], ARGV[6]
local room = tonumber(ARGV[7]) - redis.call('ZCARD', queue_key(runner, 'held:' .. holder))
redis.call('LLEN', list)
local ids, again = take(runner, room, function(id)
  redis.call('HINCRBY', job_key(id), 'attempt', 1)
  redis.call('HSET', job_key(id), 'holder', holder, 'list', list, 'updated_at', NOW)
  hand_over(id, runner, holder, '+inf')
  redis.call('RPUSH', list, id)
end)
return {ids, again}
