-- Read the same fields of several jobs.
--
-- KEYS    hashes of the jobs
-- ARGV    name and longest length in bytes of a field, alternating
-- returns for each key: a list of values (false: absent; a number: the length of a value that is too long),
--         false when there is no such key, or 'WRONGTYPE' when it is not a hash
--
-- A hash may have been written by anyone. The length is looked at first, so a value of 512 MB stays where it is.
local jobs = {}
for j, key in ipairs(KEYS) do
  local kind = redis.call('TYPE', key).ok
  if kind == 'none' then
    jobs[j] = false
  elseif kind ~= 'hash' then
    jobs[j] = 'WRONGTYPE'
  else
    local values = {}
    for i = 1, #ARGV, 2 do
      local value = redis.call('HSTRLEN', key, ARGV[i])
      if value <= tonumber(ARGV[i + 1]) then
        value = redis.call('HGET', key, ARGV[i])
      end
      values[#values + 1] = value
    end
    jobs[j] = values
  end
end
return jobs
