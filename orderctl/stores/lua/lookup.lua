-- Each entry, or a lease where there is none.
-- KEYS: entries. ARGV: a lease's time to live in ms, and for each a lease's bytes.
-- Returns for each: the entry's bytes, 1 where the lease was granted, 0 where somebody has it.
-- include entry.lua
local found = {}
for i, key in ipairs(KEYS) do
  local value = get(key)
  local kind = parse(value)
  if kind == nil then
    -- Without room for a lease its holder may load all the same; the fill will find it gone. Hits go on being hits.
    set(key, ARGV[i + 1], 'PX', ARGV[1])
    found[i] = 1
  elseif kind == 'L' then
    found[i] = 0
  else
    found[i] = value
  end
end
return found
