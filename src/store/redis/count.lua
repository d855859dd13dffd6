-- How many members are not due; writes nothing. KEYS: set.
return redis.call('ZCOUNT', KEYS[1], '(' .. string.format('%.0f', now), '+inf')
