-- Ends a session for good. KEYS: record, tombstone. ARGV: token of the caller, until, channel, notice.
-- Answers whether this caller ended it (a repetition included), and the groups it was in.
-- The record goes first: once a script has written, Redis lets it finish even when memory is full.
-- Whoever may not publish still ends it: no gateway then hears, and none goes by what it has heard.
-- The tombstone remembers who found the session alive, and never gets shorter.
local groups = redis.pcall('HGET', KEYS[1], 'g')
if type(groups) ~= 'string' then
  groups = ''
end
local lived = redis.call('DEL', KEYS[1]) == 1
local by = redis.pcall('GET', KEYS[2])
local ends = tonumber(ARGV[2])
if type(by) == 'string' then
  ends = math.max(ends, now + redis.call('PTTL', KEYS[2]))
else
  by = '-'
end
if lived then
  by = ARGV[1]
end
redis.call('SET', KEYS[2], by, 'PXAT', string.format('%.0f', ends))
redis.pcall('PUBLISH', ARGV[3], ARGV[4])
return { by == ARGV[1] and 1 or 0, groups }
