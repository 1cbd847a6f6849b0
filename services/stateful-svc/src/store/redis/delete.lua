-- Returns 1, or nil when there is no such session. UNLINK frees a long history in the background.
local found = find()
redis.call('UNLINK', record, messages)
return found and 1
