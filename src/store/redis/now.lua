-- The server's own time in milliseconds: what its expiries go by.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
