#!lua flags=no-writes
-- One step of listing a group's entries. KEYS: as in reset.lua, so that this is answered by the slot's owner, once it has
-- all of its keys. ARGV: the beginning of the entries' names, where to go on ('' for the beginning), how many to find at about.
-- Returns where to go on ('' for nowhere), and then the entries' keys.
local prefix, from, wanted = ARGV[1], ARGV[2], tonumber(ARGV[3])
local slot = redis.call('CLUSTER', 'KEYSLOT', KEYS[1])
local SMALL, LOOKS = 2000, 10
local found = {''}
if from == '' and redis.call('CLUSTER', 'COUNTKEYSINSLOT', slot) <= SMALL then
  -- Other groups, timers and lists of timers share the slot.
  for _, key in ipairs(redis.call('CLUSTER', 'GETKEYSINSLOT', slot, SMALL)) do
    if key:sub(1, #prefix) == prefix then found[#found + 1] = key end
  end
  return found
end
-- A slot's keys cannot be paged through, but a node's can: a look at so many of them is quick, whatever the slot holds.
-- A cursor means nothing on another node, so where the slot has moved since, it begins anew there.
local me = redis.call('CLUSTER', 'MYID')
local node, cursor = from:match('^(%x+):(%d+)$')
if node ~= me then cursor = '0' end
for _ = 1, LOOKS do
  local step = redis.call('SCAN', cursor, 'MATCH', prefix .. '*', 'COUNT', 1000)
  cursor = step[1]
  for _, key in ipairs(step[2]) do found[#found + 1] = key end
  if cursor == '0' then return found end
  if #found > wanted then break end
end
found[1] = me .. ':' .. cursor
return found
