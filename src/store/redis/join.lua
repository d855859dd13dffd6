-- Adds a member to a set by expiry. KEYS: set. ARGV: until, member.
join(KEYS[1], ARGV[1], ARGV[2])
return 1
