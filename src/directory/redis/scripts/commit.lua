-- Makes a change if all that it was made on still holds: records, and limits. All of it or nothing; whoever listens
-- is told in the same breath.
-- KEYS[1] the directory, ARGV[1] the change as JSON
local directory, change = KEYS[1], cjson.decode(ARGV[1])
local format = redis.call('HGET', directory, 'format')
if format ~= change.format and (format or redis.call('EXISTS', directory) == 1) then
  return {'foreign', format or 'no format'}
end
for _, expected in ipairs(change.expect) do
  if redis.call('HGET', directory, expected[1]) ~= expected[2] then return {'changed', expected[1]} end
end
for _, grow in ipairs(change.grow) do
  local _, count = string.gsub(redis.call('HGET', directory, grow[1]) or '', '%S+', '')
  if count >= grow[3] then return {'full', grow[1]} end
end
-- The first write is what a server without memory, or one that is a replica by now, refuses; telling is what an ACL may
-- refuse. Either leaves all as it was, and nobody reads in between. What nobody is told of makes no new version: it is
-- nothing that a sidecar remembers.
local before = redis.call('HGET', directory, 'version')
local version = string.format('%.0f', (tonumber(before) or 0) + (#change.tell > 0 and 1 or 0))
redis.call('HSET', directory, 'format', change.format, 'version', version)
for _, message in ipairs(change.tell) do
  local told = redis.pcall('PUBLISH', change.channel, version .. ' ' .. message)
  if type(told) == 'table' and told.err then
    if before then redis.call('HSET', directory, 'version', before) else redis.call('HDEL', directory, 'format', 'version') end
    return told
  end
end
for _, set in ipairs(change.set) do redis.call('HSET', directory, set[1], set[2]) end
for _, field in ipairs(change.del) do redis.call('HDEL', directory, field) end
for _, grow in ipairs(change.grow) do
  local ids = redis.call('HGET', directory, grow[1])
  redis.call('HSET', directory, grow[1], ids and ids .. ' ' .. grow[2] or grow[2])
end
for _, shrink in ipairs(change.shrink) do
  local left = {}
  for id in string.gmatch(redis.call('HGET', directory, shrink[1]) or '', '%S+') do
    if id ~= shrink[2] then left[#left + 1] = id end
  end
  if #left == 0 then
    redis.call('HDEL', directory, shrink[1])
  else
    redis.call('HSET', directory, shrink[1], table.concat(left, ' '))
  end
end
return {'ok', version}
