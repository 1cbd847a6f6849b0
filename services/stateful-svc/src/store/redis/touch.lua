-- Resets the idle time of a session, whatever its owner. Returns {expires}; nil when there is no
-- such session.
local created = redis.call('HGET', record, 'created')
if not created or expiry(created) <= now then
  return nil
end
return {touch(created)}
