-- Removes entries that are older than ARGV[1] milliseconds by the server's own clock, which their ids are of, and notes
-- down how far: what is missing beyond that, age has not taken. KEYS: stream, cursors.
local now = redis.call('TIME')
local oldest = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000) - tonumber(ARGV[1])
if oldest <= 0 then
  return 0
end
-- No sidecar's name is empty.
if oldest > (tonumber(redis.call('HGET', KEYS[2], '')) or 0) then
  redis.call('HSET', KEYS[2], '', string.format('%.0f', oldest))
end
return redis.call('XTRIM', KEYS[1], 'MINID', '~', string.format('%.0f', oldest))
