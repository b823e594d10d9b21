"""One file a command, listed in ``usviewer.__main__.COMMANDS``. No Qt."""
