"""What models are compiled for: one file a target; each says which variants it can make and compiles one of them."""
