"""What a loop says is what is recorded."""
