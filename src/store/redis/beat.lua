-- Says a beat on. KEYS: mark. ARGV: channel, beat, a new mark, how long a mark stays in milliseconds.
-- Answers the mark. It is made once and goes when the data goes: whoever sees another one knows that all was lost.
-- It is written so seldom that beats cost no disk. A server that lacks memory or replicas still says them on, and bears no mark.
-- A replica says nothing on: what others say to its master may not reach it. SETRANGE of nothing changes nothing.
local refused = redis.pcall('SETRANGE', KEYS[1], 0, '')
if type(refused) == 'table' and string.sub(refused.err, 1, 8) == 'READONLY' then
  return refused
end
local mark = redis.pcall('GET', KEYS[1])
if type(mark) ~= 'string' then
  local written = redis.pcall('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
  mark = written.ok and ARGV[3] or string.rep('\0', 16)
elseif redis.call('PTTL', KEYS[1]) < ARGV[4] / 2 then
  redis.pcall('PEXPIRE', KEYS[1], ARGV[4])
end
redis.call('PUBLISH', ARGV[1], ARGV[2])
return mark
