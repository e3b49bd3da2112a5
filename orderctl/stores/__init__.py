"""The tiers: one Protocol each (base.py), a real and an embedded implementation, one contract suite."""
