"""One file a command. No Qt."""
