-- Writes a new session. KEYS: record, tombstone, the shard's living sessions.
-- ARGV: until, facts, tokens, index, groups, the session's name.
-- 1: it stands; 0: it has ended before; -1: another session bears the name.
if redis.call('EXISTS', KEYS[2]) == 1 then
  return 0
end
local held = redis.call('HMGET', KEYS[1], 'v', 'f', 't', 'i')
if held[1] then
  local same = held[2] == ARGV[2] and held[3] == ARGV[3] and held[4] == ARGV[4]
  if same or held[1] ~= '1' then
    return 1
  end
  return -1
end
-- Reading it first refuses all of the step if something else lies there.
redis.call('ZCARD', KEYS[3])
redis.call('HSET', KEYS[1], 'v', '1', 'f', ARGV[2], 't', ARGV[3], 'i', ARGV[4], 'g', ARGV[5])
redis.call('PEXPIREAT', KEYS[1], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', string.format('%.0f', now))
redis.call('ZADD', KEYS[3], ARGV[1], ARGV[6])
local last = redis.call('ZRANGE', KEYS[3], -1, -1, 'WITHSCORES')
redis.call('PEXPIREAT', KEYS[3], string.format('%.0f', last[2]))
return 1
