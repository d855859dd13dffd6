-- Writes a tombstone, which never gets shorter and remembers who found the session alive. Tells whether that is the caller.
local function bury(tombstone, caller, lived, ends)
  local by = redis.pcall('GET', tombstone)
  if type(by) == 'string' then
    ends = math.max(ends, now + redis.call('PTTL', tombstone))
  else
    by = '-'
  end
  if lived then
    by = caller
  end
  redis.call('SET', tombstone, by, 'PXAT', string.format('%.0f', ends))
  return by == caller
end
