-- Use each lease up that is still there under its token: put in what was loaded, or free it where its floor is higher.
-- KEYS: entries. ARGV, for each: the token, the entry's bytes (a record or `absent`), its time to live in ms, and
-- when the timer of a record is to go off (Unix ms, 0 for never). Returns 1 or 0 for each.
-- include entry.lua
-- include node_time.lua
-- include timer.lua
local done = {}
for i, key in ipairs(KEYS) do
  local kind, floor, token = parse(get(key))
  done[i] = 0
  if kind == 'L' and token == ARGV[4 * i - 3] then
    local value = ARGV[4 * i - 2]
    local filled, version = parse(value)
    if version < floor then
      redis.call('DEL', key)
    elseif set(key, value, 'PX', ARGV[4 * i - 1]) then
      if filled == 'R' then set_timer(key, ARGV[4 * i]) end
      done[i] = 1
    end
  end
end
return done
