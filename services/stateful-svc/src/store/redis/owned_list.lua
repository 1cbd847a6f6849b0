-- KEYS[1] the index of an owner's sessions. Returns {session, value} for each entry.
local entries, fields = {}, redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
  entries[#entries + 1] = {fields[i], fields[i + 1]}
end
return entries
