-- KEYS[1] is a lease; ARGV[1] how often it had been renewed when it was last looked at.
-- Ends the lease unless it was renewed since. Returns 1 when there is no such lease now, else 0.
local renewed = redis.call('GET', KEYS[1])
if renewed and renewed ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[1])
return 1
