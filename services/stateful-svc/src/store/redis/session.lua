-- The start of all scripts.
--
-- KEYS[1] is the session's record, KEYS[2] its message list; ARGV[1] and ARGV[2] are the idle and
-- the absolute limit of its lifetime, in milliseconds; ARGV[3] is the caller's digest and, after an
-- '@', when its token was issued, '' for an anonymous caller. The last three are for claim.lua, the
-- end of all scripts.
local record, messages = KEYS[1], KEYS[2]
local caller, issued_at = string.match(ARGV[3], '^(%x*)@?(%d*)$')

-- Return values of an operation besides nil (the caller has no such session) and a table (its
-- result, or that of the repeated request). UNSURE: an earlier attempt of this operation may have
-- been executed, which later writes hide. PRECONDITION_FAILED: the session's tag does not satisfy
-- the request's precondition. REVOKED: the caller's token is older than the owner's last revocation.
local REFUSED, KEY_REUSED, UNSURE, PRECONDITION_FAILED, REVOKED = 0, -1, -2, -3, -4

-- The connection of an earlier attempt broke before its response.
local again = ARGV[#ARGV] == 'again' and table.remove(ARGV) ~= nil

-- Redis's clock counts, since it also expires the keys.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- The expiry of a session last used at this time.
local function expiry_from(used, created)
  return math.min(used + ARGV[1], created + ARGV[2])
end

local function expiry(created)
  return expiry_from(now, created)
end

-- Any caller that has its id may use a session without an owner.
local function may_use(owner)
  return not owner or owner == '' or owner == caller
end

-- Whether the session's tag satisfies the precondition. A precondition is '' (none), or '=' (one
-- of) or '!' (none of) and a list of tags with a space before and after each.
local function allows(condition, version, nonce)
  if condition == '' then
    return true
  end
  local is_listed = string.find(condition, ' ' .. version .. '-' .. nonce .. ' ', 1, true) ~= nil
  return is_listed == (string.sub(condition, 1, 1) == '=')
end

-- Whether the operation has changed the session, which makes earlier copies stale; for claim.lua.
-- Repetitions and rejected operations change nothing.
local wrote = false

-- The record's marks of copies in instances' memory, for claim.lua; also of a tombstone.
local found, owner, holder, drops = false, '', '', ''

-- The earliest time of issue of a valid token of the owner, in seconds since 1970; and whether the
-- caller's is older, so that claim.lua returns REVOKED.
local not_before, is_revoked = '0', false

-- The time of creation and the named fields; nil when there is no such session. (A session past its
-- absolute limit can still exist when the limit was lowered after its last use.)
local function find(...)
  local fields = redis.call('HMGET', record, 'owner', 'holder', 'drops', 'not_before', 'created', ...)
  owner, holder, drops = fields[1] or '', fields[2] or '', fields[3] or ''
  not_before = fields[4] or '0'
  if not may_use(owner) or not fields[5] or expiry(fields[5]) <= now then
    return nil
  end
  if owner ~= '' and issued_at ~= '' and tonumber(issued_at) < tonumber(not_before) then
    is_revoked = true
    return nil
  end
  found = true
  return {unpack(fields, 5, select('#', ...) + 5)}
end

-- Resets the idle time of both keys, and returns the session's expiry.
local function touch(created)
  local ends = expiry(created)
  redis.call('PEXPIREAT', record, ends)
  redis.call('PEXPIREAT', messages, ends)
  return ends
end

-- Keeps, under an Idempotency-Key ('' for none), what a repetition's response needs.
local function keep(key, fingerprint, ...)
  if key ~= '' then
    redis.call('HSET', record, 'key:' .. key, table.concat({fingerprint, ...}, ':'))
  end
end

-- The result kept under the key; nil when there is none, KEY_REUSED when it is that of another
-- request.
local function kept(key, fingerprint)
  local result = key ~= '' and redis.call('HGET', record, 'key:' .. key)
  if not result then
    return nil
  end
  if string.sub(result, 1, #fingerprint) ~= fingerprint then
    return KEY_REUSED
  end
  return string.sub(result, #fingerprint + 2)
end

-- Fields of an existing record with their new values. claim.lua writes them together with its own:
-- each command costs time and space in the append-only file.
local changes = {}
local function set(...)
  for _, item in ipairs({...}) do
    changes[#changes + 1] = item
  end
end

-- Notifies the watchers at all instances that the session has changed; they read its new state.
local function announce()
  redis.call('PUBLISH', record, '')
end
