-- Marks something as used, once. KEYS: mark. ARGV: token of the caller, until.
-- 1: the caller was first, now or by an earlier try; 0: somebody else was.
local by = redis.call('GET', KEYS[1])
if not by then
  redis.call('SET', KEYS[1], ARGV[1], 'PXAT', ARGV[2])
  return 1
end
return by == ARGV[1] and 1 or 0
