-- Returns {created, active, count, version, revision, data, expires}; nil when there is no such session.
local fields = find('active', 'count', 'version', 'revision', 'data')
if not fields then
  return nil
end
fields[7] = touch(fields[1])
return fields
