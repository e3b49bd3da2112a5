#!lua flags=allow-oom
-- Bring a group from where the log was at `expected` to `reached`, unless its node went back in time.
-- KEYS: the group's mark, the entries to drop, the entries to apply to. ARGV: `expected`, `reached`, how many to drop, and
-- for each to apply to: the record's bytes, its time to live in ms, when its timer is to go off (Unix ms, 0 for never). Returns
-- what was done to these, false where it went back.
-- include entry.lua
-- include node_time.lua
-- include timer.lua
-- include apply_one.lua
local mark = tonumber(get(KEYS[1]) or '')
if mark == nil or mark < tonumber(ARGV[1]) then return false end
local first_put = 2 + tonumber(ARGV[3])
for i = 2, first_put - 1 do redis.call('UNLINK', KEYS[i]) end
local done = {}
for i = first_put, #KEYS do
  local argument = 4 + 3 * (i - first_put)
  done[#done + 1] = apply_one(KEYS[i], ARGV[argument], ARGV[argument + 1], ARGV[argument + 2])
end
-- As the text that came: turned into text here, a large number would lose its last digits.
if tonumber(ARGV[2]) > mark then redis.call('SET', KEYS[1], ARGV[2]) end
return done
