-- Use each lease up that is still there under its token: put in what was loaded, or free it where its floor is higher.
-- KEYS: entries. ARGV, for each: the token, the entry's bytes (a record or `absent`), its time to live in ms.
-- Returns 1 or 0 for each.
-- include entry.lua
local done = {}
for i, key in ipairs(KEYS) do
  local kind, floor, token = parse(get(key))
  done[i] = 0
  if kind == 'L' and token == ARGV[3 * i - 2] then
    local value = ARGV[3 * i - 1]
    local _, version = parse(value)
    if version < floor then
      redis.call('DEL', key)
    elseif set(key, value, 'PX', ARGV[3 * i]) then
      done[i] = 1
    end
  end
end
return done
