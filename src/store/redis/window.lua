-- Counts a caller in a sliding window if every rate has room. KEYS: window, bar.
-- ARGV: token of the caller, then of each rate how many and in how many milliseconds.
-- 0: counted, now or by an earlier try; else how many milliseconds there are to wait.
local longest = 0
for at = 3, #ARGV, 2 do
  longest = math.max(longest, tonumber(ARGV[at]))
end
local newest = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
-- What lies further ahead than a window was counted before the server's clock was set back.
if newest[2] and tonumber(newest[2]) > now + longest then
  redis.call('DEL', KEYS[1])
end
if redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  return 0
end
local wait = math.max(redis.call('PTTL', KEYS[2]), 0)
for at = 2, #ARGV, 2 do
  -- The oldest of those that fill the rate must have left its window.
  local place = -tonumber(ARGV[at])
  local oldest = redis.call('ZRANGE', KEYS[1], place, place, 'WITHSCORES')
  if oldest[2] then
    wait = math.max(wait, tonumber(oldest[2]) + tonumber(ARGV[at + 1]) - now)
  end
end
if wait > 0 or longest == 0 then
  return wait
end
-- Adding comes first, so that a server without memory refuses all of it.
redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - longest))
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', longest))
return 0
