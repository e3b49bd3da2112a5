#!lua flags=allow-oom
-- Bring each entry to a committed version, unless it is newer. Also when the node is out of memory: what is old must go.
-- KEYS: entries. ARGV, for each: the record's bytes, its time to live in ms. Returns for each what was done.
-- include entry.lua
-- include apply_one.lua
local done = {}
for i, key in ipairs(KEYS) do done[i] = apply_one(key, ARGV[2 * i - 1], ARGV[2 * i]) end
return done
