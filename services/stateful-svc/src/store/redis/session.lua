-- What all scripts start with.
--
-- KEYS[1] is the session's record, KEYS[2] the list of its messages; ARGV[1] and ARGV[2] are the idle and the absolute
-- limit to its life, in milliseconds; ARGV[3] is the digest of who asks, '' for who did not say. The last three are for
-- claim.lua, with which all scripts end.
local record, messages, caller = KEYS[1], KEYS[2], ARGV[3]

-- What a script returns beside nil (the caller has no such session) and a table (it was done, or done before). UNSURE: an
-- earlier attempt of this very act may have been done, and what has come since hides whether it was.
-- OVERTAKEN: the session's tag is not one that the request's condition allows.
local REFUSED, KEY_REUSED, UNSURE, OVERTAKEN = 0, -1, -2, -3

-- The connection of an earlier attempt broke before it was answered.
local again = ARGV[#ARGV] == 'again' and table.remove(ARGV) ~= nil

-- Redis's clock decides, as it also expires the keys.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- When a session ends that is last used at this time.
local function expiry_from(used, created)
  return math.min(used + ARGV[1], created + ARGV[2])
end

local function expiry(created)
  return expiry_from(now, created)
end

-- A session that nobody owns is anybody's who knows its id.
local function may_use(owner)
  return not owner or owner == '' or owner == caller
end

-- Whether the session's tag is one that the condition allows. A condition is '' (there is none), or '=' or '!' and a list
-- of tags with a space before and after each: the tag must be among them, or must not.
local function allows(condition, version, nonce)
  if condition == '' then
    return true
  end
  local is_listed = string.find(condition, ' ' .. version .. '-' .. nonce .. ' ', 1, true) ~= nil
  return is_listed == (string.sub(condition, 1, 1) == '=')
end

-- Whether the act has changed the session, so that copies from before are stale; for claim.lua. A repetition and what is
-- refused change nothing.
local wrote = false

-- What the record says of copies in instances' memories, for claim.lua; of a tombstone too.
local found, owner, holder, drops = false, '', '', ''

-- The time of creation and the named fields; nil when there is no such session. (A session past its absolute limit can
-- be met when the limit was lowered after the session's last use.)
local function find(...)
  local fields = redis.call('HMGET', record, 'owner', 'holder', 'drops', 'created', ...)
  owner, holder, drops = fields[1] or '', fields[2] or '', fields[3] or ''
  if not may_use(owner) or not fields[4] or expiry(fields[4]) <= now then
    return nil
  end
  found = true
  return {unpack(fields, 4, select('#', ...) + 4)}
end

-- Starts the idle time anew, for both keys alike, and tells when the session ends.
local function touch(created)
  local ends = expiry(created)
  redis.call('PEXPIREAT', record, ends)
  redis.call('PEXPIREAT', messages, ends)
  return ends
end

-- Keeps, under an Idempotency-Key ('' for none), what is needed to give the same answer again.
local function keep(key, fingerprint, ...)
  if key ~= '' then
    redis.call('HSET', record, 'key:' .. key, table.concat({fingerprint, ...}, ':'))
  end
end

-- What was kept under the key; nil when nothing was, and KEY_REUSED when it was kept for another request.
local function kept(key, fingerprint)
  local answer = key ~= '' and redis.call('HGET', record, 'key:' .. key)
  if not answer then
    return nil
  end
  if string.sub(answer, 1, #fingerprint) ~= fingerprint then
    return KEY_REUSED
  end
  return string.sub(answer, #fingerprint + 2)
end

-- Fields of a record that is there, and their new values: claim.lua writes them together with its own, since each command
-- of a script costs its share of time and of the append-only file.
local changes = {}
local function set(...)
  for _, item in ipairs({...}) do
    changes[#changes + 1] = item
  end
end

-- Tells whoever listens, in whatever instance, that the session has changed; they read what it has become.
local function announce()
  redis.call('PUBLISH', record, '')
end
