-- Adds records to the stream if, and only if, this sidecar's cursor is where the sender thinks it is; then moves it.
-- KEYS: stream, cursors. ARGV: sidecar, cursor expected ('' for none), cursor after, number of the first record, records.
-- Answers 'taken', or the cursor that is there.
local at = redis.call('HGET', KEYS[2], ARGV[1]) or ''
if at ~= ARGV[2] then
  return {'at', at}
end
-- A write that fails would leave the ones before it: whatever could fail is found out first.
local stream, cursors = redis.call('TYPE', KEYS[1]).ok, redis.call('TYPE', KEYS[2]).ok
if (stream ~= 'none' and stream ~= 'stream') or (cursors ~= 'none' and cursors ~= 'hash') then
  return redis.error_reply('WRONGTYPE ' .. KEYS[1] .. ' or ' .. KEYS[2] .. ' holds something that is not the audit log')
end
local first = tonumber(ARGV[4]) - 5
for i = 5, #ARGV do
  redis.call('XADD', KEYS[1], '*', 'sidecar', ARGV[1], 'seq', string.format('%.0f', first + i), 'record', ARGV[i])
end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
return {'taken', ARGV[3]}
