"""The tiers: one Protocol each, a real and an embedded implementation, one contract suite."""
