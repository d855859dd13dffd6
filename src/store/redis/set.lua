-- Adds a member to a sorted set by expiry, after taking away those that are due. The set lasts as long as its last.
local function join(set, ends, member)
  redis.call('ZREMRANGEBYSCORE', set, '-inf', now)
  redis.call('ZADD', set, ends, member)
  local last = redis.call('ZRANGE', set, -1, -1, 'WITHSCORES')
  redis.call('PEXPIREAT', set, last[2])
end
