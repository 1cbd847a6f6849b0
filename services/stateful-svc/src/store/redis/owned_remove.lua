-- KEYS[1] the index of an owner's sessions, ARGV[1] a session, ARGV[2] the value of its entry, or
-- '' for any. Removes the entry unless it was renewed since it was read.
if ARGV[2] == '' or redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then
  redis.call('HDEL', KEYS[1], ARGV[1])
end
return 1
