-- Make each tentative a record, if it is there under its token; its bytes may be newer than its creator's by now.
-- KEYS: entries. ARGV, for each: the token, the record's time to live in ms. Returns 1 or 0 for each.
-- include entry.lua
local done = {}
for i, key in ipairs(KEYS) do
  local value = get(key)
  local kind, _, token = parse(value)
  done[i] = 0
  if kind == 'T' and token == ARGV[2 * i - 1] then
    local record = value:sub(1, 1) .. 'R' .. value:sub(3, 12) .. NO_TOKEN .. value:sub(29)
    if set(key, record, 'PX', ARGV[2 * i]) then done[i] = 1 end
  end
end
return done
