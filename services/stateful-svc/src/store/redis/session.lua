-- What all scripts start with.
--
-- KEYS[1] is the session's record, KEYS[2] the list of its messages; ARGV[1] and ARGV[2] are the idle and the absolute
-- limit to its life, in milliseconds.
local record, messages = KEYS[1], KEYS[2]

-- Redis's clock decides, as it also expires the keys.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function expiry(created)
  return math.min(now + ARGV[1], created + ARGV[2])
end

-- The time of creation and the named fields; nil when there is no such session. (A session past its absolute limit can
-- be met when the limit was lowered after the session's last use.)
local function find(...)
  local fields = redis.call('HMGET', record, 'created', ...)
  if not fields[1] or expiry(fields[1]) <= now then
    return nil
  end
  return fields
end

-- Starts the idle time anew, for both keys alike, and tells when the session ends.
local function touch(created)
  local ends = expiry(created)
  redis.call('PEXPIREAT', record, ends)
  redis.call('PEXPIREAT', messages, ends)
  return ends
end

