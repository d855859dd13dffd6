-- Writes a tombstone alone. KEYS: tombstone. ARGV: token of the caller, until, whether the caller found the session alive.
return bury(KEYS[1], ARGV[1], ARGV[3] == '1', tonumber(ARGV[2])) and 1 or 0
