-- Cancel a job, at once if nobody executes it.
--
-- ARGV[4] id
-- ARGV[5] why, in a word; 'timeout' makes it fail, anything else makes it cancelled
-- returns {'ok'}: it is cancelled, now or before; {'missing'}; {'stopping', runner, holder}: its holder has been told;
--   else {its final status}
local id, why = ARGV[4], ARGV[5]
local key = job_key(id)
local job = redis.call('HMGET', key, 'status', 'runner', 'holder', 'list', 'cancel')
local status, runner, holder = job[1], job[2] or '', job[3]
if redis.call('EXISTS', key) == 0 then
  return {'missing'}
elseif is_final(status) then
  return {status == 'cancelled' and 'ok' or status}
end
check_types(runner)
check_holder(runner, holder or '')
if redis.call('ZSCORE', queue_key(runner, 'taken'), id) and holder then
  if job[4] and redis.call('LREM', job[4], 0, id) > 0 then
    take_back(id, runner, holder)
    stopped(id, runner, why)
    return {'ok'}
  end
  if why == 'timeout' and job[5] then
    why = job[5] -- who cancelled it does not want it tried again
  end
  redis.call('HSET', key, 'status', 'stopping', 'cancel', why, 'updated_at', NOW)
  if not job[4] then
    redis.call('RPUSH', queue_key(runner, 'control:' .. holder), 'cancel ' .. id)
  end
  return {'stopping', runner, holder}
end
leave(id, runner)
stopped(id, runner, why)
return {'ok'}
