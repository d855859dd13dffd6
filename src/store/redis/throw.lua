-- Throws the switches. KEYS: switches. ARGV: record, which begins with its epoch in 20 digits; channel, notice.
-- 1: it lies there, now or by an earlier try; 0: another of that epoch or of a higher one does.
-- What bears no epoch gives way: it says nothing, and would keep every operator out. The reader's epochs are the same:
-- 20 digits, at most 2^64 - 1, whatever comes after them.
local held = redis.pcall('GET', KEYS[1])
local epoch = type(held) == 'string' and string.match(held, '^' .. string.rep('%d', 20))
if epoch and epoch <= '18446744073709551615' then
  if held == ARGV[1] then
    return 1
  end
  if epoch >= string.sub(ARGV[1], 1, 20) then
    return 0
  end
end
redis.call('SET', KEYS[1], ARGV[1])
redis.pcall('PUBLISH', ARGV[2], ARGV[3])
return 1
