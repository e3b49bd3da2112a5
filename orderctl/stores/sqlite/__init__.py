"""The embedded tiers on SQLite: a data directory that several processes share, or memory."""
