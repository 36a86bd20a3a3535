"""What both ends agree on: errors, records, bundles, wire messages. Standard library only."""
