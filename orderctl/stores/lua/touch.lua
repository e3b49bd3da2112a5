-- Look at the timers of a group whose time has come, so that the node notices: by itself it looks at some 20 keys ten times a second,
-- and among a million entries would find a timer after hours.
-- KEYS: a key of the group's slot. ARGV: what the names of its timers, and of its lists of them, begin with; how many to look at.
-- Returns whether there may be more.
-- include node_time.lua
-- What a script may see as expired was so when it began; a moment's margin, and none is taken off the list unseen.
local now_ms, limit, more = node_ms() - 20, tonumber(ARGV[3]), 0
local minute = math.floor(now_ms / 60000)
for _, list in ipairs({ARGV[2] .. string.format('%d', minute - 1), ARGV[2] .. string.format('%d', minute)}) do
  local due = redis.pcall('ZRANGEBYSCORE', list, '-inf', string.format('%d', now_ms), 'LIMIT', 0, limit)
  if due.err == nil and #due > 0 then
    for _, order_id in ipairs(due) do redis.pcall('EXISTS', ARGV[1] .. order_id) end
    redis.pcall('ZREMRANGEBYRANK', list, 0, #due - 1)
    if #due == limit then more = 1 end
  end
end
return more
