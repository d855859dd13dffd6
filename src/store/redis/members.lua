-- The members that are not due, those with most time left first; writes nothing. KEYS: set. ARGV: how many at most.
return redis.call('ZREVRANGEBYSCORE', KEYS[1], '+inf', '(' .. string.format('%.0f', now), 'LIMIT', 0, ARGV[1])
