-- KEYS[1] what a user may know of. ARGV[1] the position of a change of the user, empty if it is
-- unknown; ARGV[2] the seconds that it is kept. Where no position is known, none begins here: one
-- of a later change may have been lost.
local known = redis.call('GET', KEYS[1])
if not known then
  return
end
if ARGV[1] == '' or string.sub(known, 1, 1) == '?' then
  redis.call('DEL', KEYS[1])
elseif ARGV[1] > known then
  redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
else
  redis.call('EXPIRE', KEYS[1], ARGV[2])
end
