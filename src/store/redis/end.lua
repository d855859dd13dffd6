-- Ends a session for good. KEYS: record, tombstone, the shard's living sessions; or the record alone.
-- ARGV: token of the caller, until, channel, notice, the session's name.
-- Answers whether this caller ended it (a repetition included), and the groups it was in.
-- The record goes first: once a script has written, Redis lets it finish even when memory is full.
-- Whoever may not publish still ends it: no gateway then hears, and none goes by what it has heard.
local groups = redis.pcall('HGET', KEYS[1], 'g')
if type(groups) ~= 'string' then
  groups = ''
end
local ended = redis.call('DEL', KEYS[1]) == 1
if KEYS[2] then
  redis.pcall('ZREM', KEYS[3], ARGV[5])
  ended = bury(KEYS[2], ARGV[1], ended, tonumber(ARGV[2]))
end
redis.pcall('PUBLISH', ARGV[3], ARGV[4])
return { ended and 1 or 0, groups }
