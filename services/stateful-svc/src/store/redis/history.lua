-- ARGV[4] the number of the message before the page, ARGV[5] the maximum number of messages.
-- Returns {count, first, entries}; nil when there is no such session. The entries start with the
-- one before the page, if any, since the page's first reply quotes it.
local fields = find('count', 'first')
if not fields then
  return nil
end
touch(fields[1])
local entries = redis.call('LRANGE', messages, math.max(ARGV[4] - 1, 0), ARGV[4] + ARGV[5] - 1)
return {fields[2], fields[3], entries}
