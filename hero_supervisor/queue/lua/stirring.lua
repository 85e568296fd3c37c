-- Tell which queues hold anything: jobs that have not ended, or ids in their lists.
--
-- KEYS[1]  the names of all queues; those looked at need not be among them
-- ARGV[4]  as MessagePack, for each queue: its runner, then its lists. Hundreds of keys would cost more than the work.
-- returns the numbers of those that do, from 1
local found = {}
for i, place in ipairs(cmsgpack.unpack(ARGV[4])) do
  local runner = place[1]
  local sets = {queue_key(runner, 'pending'), queue_key(runner, 'delayed'), queue_key(runner, 'blocked'),
    queue_key(runner, 'taken')}
  if redis.call('EXISTS', unpack(sets)) > 0 or redis.call('EXISTS', unpack(place, 2)) > 0 then
    found[#found + 1] = i
  end
end
return found
