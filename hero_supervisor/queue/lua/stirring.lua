-- Tell which queues hold anything: jobs that have not ended, or ids in their lists.
--
-- KEYS    the settings of the queues
-- ARGV[4] and on, for each queue as MessagePack: its runner, then its lists
-- returns the numbers of those that do, from 1
local found = {}
for i = 1, #KEYS do
  local place = cmsgpack.unpack(ARGV[3 + i])
  local runner = place[1]
  local sets = {queue_key(runner, 'pending'), queue_key(runner, 'delayed'), queue_key(runner, 'blocked'),
    queue_key(runner, 'taken')}
  if redis.call('EXISTS', unpack(sets)) > 0 or redis.call('EXISTS', unpack(place, 2)) > 0 then
    found[#found + 1] = i
  end
end
return found
