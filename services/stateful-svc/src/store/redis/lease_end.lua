-- KEYS[1] a lease, ARGV[1] its number of renewals when it was last observed. Deletes the lease
-- unless it was renewed since. Returns 1 when the lease does not exist now, else 0.
local renewed = redis.call('GET', KEYS[1])
if renewed and renewed ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[1])
return 1
