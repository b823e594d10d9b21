"""An outline followed from frame to frame: pure, without threads."""
