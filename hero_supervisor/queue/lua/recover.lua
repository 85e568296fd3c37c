-- Give the jobs of a process that is no more to others, and let it never take or end one again.
--
-- ARGV[4] runner
-- ARGV[5] id of the process
-- ARGV[6] why it ended, in a word
-- ARGV[7] the same as a sentence
-- ARGV[8] '1' if the jobs may have been the cause: then it counts as a crash of theirs
-- returns id and new status of each job, alternating
local runner, holder, reason, text, is_counted = ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8] == '1'
check_holder(runner, holder)
local held = queue_key(runner, 'held:' .. holder)
local outcomes = {}
for _, id in ipairs(redis.call('ZRANGE', held, 0, -1)) do
  local status = redis.call('HGET', job_key(id), 'status')
  take_back(id, runner, holder)
  if status and not is_final(status) then
    outcomes[#outcomes + 1] = id
    outcomes[#outcomes + 1] = recover(id, runner, reason, text, is_counted)
  end
end
redis.call('DEL', held, queue_key(runner, 'control:' .. holder))
redis.call('HDEL', queue_key(runner, 'holders'), holder)
redis.call('HDEL', queue_key(runner, 'words'), holder)
redis.call('ZREM', queue_key(runner, 'beats'), holder)
redis.call('ZADD', queue_key(runner, 'fenced'), digits(now_ms), holder)
redis.call('ZREMRANGEBYSCORE', queue_key(runner, 'fenced'), '-inf', '(' .. digits(now_ms - 86400000))
return outcomes
