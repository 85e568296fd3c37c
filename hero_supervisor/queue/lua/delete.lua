-- Forget a job that nobody executes. Those that wait for it are cancelled.
--
-- ARGV[4] id
-- returns 'ok'; 'missing': there is no such job; 'started': it is being executed
local id = ARGV[4]
local key = job_key(id)
local kind = redis.call('TYPE', key).ok
if kind == 'none' then
  return 'missing'
elseif kind ~= 'hash' then
  redis.call('DEL', key)
  return 'ok'
end
local job = redis.call('HMGET', key, 'runner', 'status')
local runner = job[1] or ''
check_types(runner)
if redis.call('ZSCORE', queue_key(runner, 'taken'), id) then
  return 'started'
elseif not is_final(job[2]) then
  leave(id, runner)
  close(id, 'cancelled', false, false, 'deleted')
end
forget(id, runner)
return 'ok'
