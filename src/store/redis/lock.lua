-- Takes or prolongs a lock. KEYS: lock. ARGV: token of the owner, lease in milliseconds.
-- 1: the caller holds it; 0: somebody else does.
local by = redis.call('GET', KEYS[1])
if by and by ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
