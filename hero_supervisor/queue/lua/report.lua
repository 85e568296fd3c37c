-- Take down what somebody who executes a job by other means reports of it.
--
-- ARGV[4] id
-- ARGV[5] its status
-- ARGV[6] 'output' or 'error', and ARGV[7] its text; only with a final status
-- returns 'ok': reported so, now or by an earlier call; 'missing': there is no such job; else its final status
local id, status, field, value = ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local key = job_key(id)
local job = redis.call('HMGET', key, 'status', 'runner', 'holder', field or 'output')
local runner = job[2] or ''
if redis.call('EXISTS', key) == 0 then
  return 'missing'
elseif is_final(job[1]) then
  return job[1] == status and (not field or job[4] == value) and 'ok' or job[1]
end
check_types(runner)
check_holder(runner, job[3] or '')
if is_final(status) then
  leave(id, runner)
  take_back(id, runner, job[3] or '')
  close(id, status, field or false, value, '')
elseif job[1] ~= status then
  redis.call('HSET', key, 'status', status, 'updated_at', NOW)
end
return 'ok'
