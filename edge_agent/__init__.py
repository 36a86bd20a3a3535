"""The daemon on the station: scans, records, queues, syncs, updates."""
