"""What ``touchstone-agent doctor`` looks at: a small function a check, each with one finding that says what to do."""
