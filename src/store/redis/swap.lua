-- Replaces facts, and tokens if given, of an existing session. KEYS: record.
-- ARGV: expected version, the version after it, facts, channel, notice, tokens (optional).
-- 1: written, now or by an earlier try; 0: somebody else wrote; -1: no such session; -2: not a record of ours.
local held = redis.call('HMGET', KEYS[1], 'v', 'f', 't')
if not held[1] and not held[2] then
  return -1
end
if not (held[1] and held[2] and held[3]) or not string.match(held[1], '^[1-9]%d*$') then
  return -2
end
if held[1] == ARGV[2] and held[2] == ARGV[3] and (not ARGV[6] or held[3] == ARGV[6]) then
  return 1
end
if held[1] ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], 'v', ARGV[2], 'f', ARGV[3])
if ARGV[6] then
  redis.call('HSET', KEYS[1], 't', ARGV[6])
end
redis.pcall('PUBLISH', ARGV[4], ARGV[5])
return 1
