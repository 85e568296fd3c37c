-- Store a job and put its id into a queue, once, however often it is asked.
--
-- KEYS[1] hash of the job
-- KEYS[2] index of all jobs
-- KEYS[3] queue; without it the job is stored only
-- ARGV[1] id
-- ARGV[2] digest of its content
-- ARGV[3] its time of creation, microseconds since the epoch
-- ARGV[4] now, RFC 3339
-- ARGV[5] and on: its fields, name and value alternating
-- returns 'ok': done, now or by an earlier call; 'exists': another job has this id, or it is in another queue
--
-- The caller may not have got our answer and ask again: the digest tells its job from somebody else's of the same
-- id. Types are looked at before the first write, because nothing that a script wrote is taken back when it fails.
redis.call('ZCARD', KEYS[2])
if KEYS[3] then
  redis.call('LLEN', KEYS[3])
end
local job = redis.call('HMGET', KEYS[1], 'digest', 'status', 'queue')
local is_new = redis.call('EXISTS', KEYS[1]) == 0
if is_new then
  redis.call('HSET', KEYS[1], 'digest', ARGV[2], 'status', 'created', unpack(ARGV, 5))
  redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
elseif job[1] ~= ARGV[2] then
  return 'exists'
end
if not KEYS[3] then
  return 'ok'
end
if not is_new then
  if job[2] ~= 'created' then
    return job[3] == KEYS[3] and 'ok' or 'exists'
  end
  redis.call('HSET', KEYS[1], 'updated_at', ARGV[4])
end
redis.call('HSET', KEYS[1], 'status', 'dispatched', 'queue', KEYS[3])
-- The original pushed on the left, where runners take, and so served the newest job first. Pushed on the right,
-- the oldest is first, and its runners need no change.
redis.call('RPUSH', KEYS[3], ARGV[1])
return 'ok'
