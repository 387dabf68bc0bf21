-- When keys were last used. Times are RFC 3339 in UTC to the second, so that later is greater.
-- KEYS[1] the directory, ARGV[1] the format, then key id and time in turn
local format = redis.call('HGET', KEYS[1], 'format')
if format ~= ARGV[1] then
  if format or redis.call('EXISTS', KEYS[1]) == 1 then return {'foreign', format or 'no format'} end
  return {'ok'}
end
for at = 2, #ARGV, 2 do
  if redis.call('HEXISTS', KEYS[1], 'key:' .. ARGV[at]) == 1 then
    local last = redis.call('HGET', KEYS[1], 'used:' .. ARGV[at])
    if not last or last < ARGV[at + 1] then redis.call('HSET', KEYS[1], 'used:' .. ARGV[at], ARGV[at + 1]) end
  end
end
return {'ok'}
