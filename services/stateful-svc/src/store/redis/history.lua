-- ARGV[4] the number of a message, ARGV[5] the maximum number of messages, ARGV[6] the side of that
-- message on which the page is: 'after' or 'before'. Returns {count, first, entries, skipped}; nil
-- when there is no such session. The page follows the first 'skipped' messages. The entries start
-- with the one before the page, if any, since the page's first reply quotes it.
local fields = find('count', 'first')
if not fields then
  return nil
end
touch(fields[1])
local skipped, last = tonumber(ARGV[4]), ARGV[4] + ARGV[5]
if ARGV[6] == 'before' then
  last = math.min(ARGV[4] - 1, fields[2])
  skipped = math.max(last - ARGV[5], 0)
end
local entries = {}
if last > skipped then
  entries = redis.call('LRANGE', messages, math.max(skipped - 1, 0), last - 1)
end
return {fields[2], fields[3], entries, skipped}
