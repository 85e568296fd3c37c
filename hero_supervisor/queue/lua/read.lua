-- Read the same fields of several jobs.
--
-- KEYS    hashes of the jobs
-- ARGV[4] and on: name and longest length in bytes of a field, alternating
-- returns for each key: a list of values (see ``read``), false when there is no such key, or 'WRONGTYPE' when it is
--   not a hash
--
-- A hash may have been written by anyone. The length is looked at first, so a value of 512 MB stays where it is.
local jobs = {}
for i, key in ipairs(KEYS) do
  local kind = redis.call('TYPE', key).ok
  if kind == 'none' then
    jobs[i] = false
  elseif kind ~= 'hash' then
    jobs[i] = 'WRONGTYPE'
  else
    jobs[i] = read(key, ARGV, 4)
  end
end
return jobs
