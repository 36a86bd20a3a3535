"""What is measured: our station and its peers, one file a system, each run as a process of its own."""
