"""The systems that ours is measured against, one file each, used as their own documentation advises."""
