-- Writes a new session. KEYS: record, tombstone, the shard's living sessions; or the record alone.
-- ARGV: until, facts, tokens, index, groups, the session's name.
-- 1: it stands; 0: it has ended before; -1: another session bears the name.
if KEYS[2] and redis.call('EXISTS', KEYS[2]) == 1 then
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
if KEYS[3] then
  -- If something else lies there, this refuses the step before anything is written.
  redis.call('ZCARD', KEYS[3])
end
redis.call('HSET', KEYS[1], 'v', '1', 'f', ARGV[2], 't', ARGV[3], 'i', ARGV[4], 'g', ARGV[5])
redis.call('PEXPIREAT', KEYS[1], ARGV[1])
if KEYS[3] then
  join(KEYS[3], ARGV[1], ARGV[6])
end
return 1
