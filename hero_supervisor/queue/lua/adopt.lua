-- Take the jobs that others have pushed to a list into the queue of a runner that does not take them from there.
--
-- ARGV[4] runner
-- ARGV[5] the list
-- ARGV[6] most ids to look at
-- returns how many ids are left
local runner, list = ARGV[4], ARGV[5]
for _ = 1, tonumber(ARGV[6]) do
  local id = redis.call('LPOP', list)
  if not id then
    break
  end
  if is_id(id) then
    adopt(id, runner)
  end
end
return redis.call('LLEN', list)
