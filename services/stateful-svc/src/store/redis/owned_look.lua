-- KEYS[1] a session's record, ARGV[1] the absolute limit of its lifetime in milliseconds, ARGV[2]
-- its owner. Does not reset the idle time. Returns {now, created, active, count, version, expires};
-- {now} when the owner has no such session.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local owner, created, active, count, version =
  unpack(redis.call('HMGET', KEYS[1], 'owner', 'created', 'active', 'count', 'version'))
if owner ~= ARGV[2] or not created then
  return {now}
end
local ends = math.min(redis.call('PEXPIRETIME', KEYS[1]), created + ARGV[1])
if ends <= now then
  return {now}
end
return {now, created, active, count, version, ends}
